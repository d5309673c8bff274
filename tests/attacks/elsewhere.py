"""Attacks by name that are none on an update: each is played by tests that stand where what it attacks is tested.

``make attacks`` runs them all; ``python -m tests.attacks.elsewhere NAME`` prints the tests of those whose names hold
NAME, as pytest takes them. A new one is a line here, and its row in `docs/security.md`.
"""

import sys

_AGENT, _SYSTEM, _CONVERTER = "tests/agent", "tests/system", "tests/converter"

ELSEWHERE: dict[str, tuple[str, ...]] = {
    # the broker, and whoever may publish to it
    "thousands of withdrawn versions": (
        f"{_SYSTEM}/test_desired.py::test_a_document_that_withdraws_thousands_of_versions_ends_nobody",
        f"{_AGENT}/hub/system/test_job_process.py::test_a_job_that_is_larger_than_a_socket_is_told_while_the_loop_turns",
    ),
    "flood of desired states": (
        f"{_AGENT}/hub/api/test_desired_state.py::"
        "test_a_storm_of_documents_is_written_and_obeyed_once_a_second_and_the_newest_counts",
    ),
    "flood of what devices say": (f"{_CONVERTER}/fleet/test_view.py::test_a_fleet_that_never_ends_is_bounded",),
    "escapes on a terminal": (f"{_SYSTEM}/test_terminal.py",),
    "forged lines in the log": (
        f"{_AGENT}/base/test_log.py::test_any_event_is_one_line",
        f"{_AGENT}/base/test_log.py::test_no_line_is_so_long_that_the_journal_cuts_it",
        f"{_AGENT}/hub/system/test_systemd.py::test_a_status_writes_to_no_terminal",
    ),
    "ids that are paths, wildcards or invisible": (
        f"{_AGENT}/config/test_load.py::test_a_name_is_no_folder_and_has_nothing_that_nobody_sees",
        f"{_AGENT}/hub/api/test_announcements.py",
    ),
    "passwords in addresses": (
        f"{_AGENT}/network/test_addresses.py",
        f"{_CONVERTER}/fleet/test_broker.py::test_a_password_in_the_address_is_refused_and_not_repeated",
        f"{_AGENT}/commands/test_check.py::test_what_is_left_open_is_told_and_is_no_failure",
    ),
    # the device: its processes, its store, its user
    "puller killed before its go": (
        f"{_AGENT}/hub/system/test_job_process.py::test_what_is_said_to_one_that_has_just_been_killed_is_lost_with_it",
        f"{_AGENT}/hub/system/test_job_process.py::test_one_that_never_listens_holds_nobody_up",
    ),
    "links in the store of root's commands": (f"{_AGENT}/host/test_privileges.py",),
    "damaged file of what runs": (
        f"{_SYSTEM}/test_mending.py::test_a_device_whose_model_is_damaged_fetches_it_again_and_serves",
    ),
    "unreadable state of a pipeline": (
        f"{_SYSTEM}/test_mending.py::test_neither_damage_nor_a_new_name_costs_a_model_while_the_repository_is_away",
        f"{_AGENT}/hub/takeover/test_state_store.py",
    ),
    "no descriptors": (f"{_SYSTEM}/test_exhausted.py",),
    "read-only store": (
        f"{_SYSTEM}/test_surroundings.py::"
        "test_a_device_whose_store_has_become_read_only_serves_what_is_there_with_an_alarm",
        f"{_AGENT}/hub/system/test_store_folder.py",
    ),
    "control socket": (
        f"{_AGENT}/commands/test_status.py::test_what_answers_there_may_be_anything",
        f"{_AGENT}/commands/test_status.py::test_a_request_may_name_hundreds_of_pipelines",
        f"{_AGENT}/commands/test_status.py::test_a_request_is_carried_out_once_whatever_follows_it",
        f"{_AGENT}/commands/test_status.py::test_who_does_not_take_its_answer_keeps_nobody_out",
        f"{_AGENT}/commands/test_status.py::test_a_store_that_is_made_is_closed_to_others",
        f"{_AGENT}/host/test_privileges.py::test_an_answer_without_end_is_given_up",
    ),
    "clock in 1970": (f"{_AGENT}/update/test_clock.py", f"{_SYSTEM}/test_clocks.py"),
    # the workstation: models and repositories from anywhere
    "archive bomb of a model": (
        f"{_CONVERTER}/importers/test_table.py::test_what_a_keras_file_says_of_itself_is_read_within_bounds",
        f"{_CONVERTER}/importers/test_table.py::test_a_member_of_a_zip_is_bounded_whatever_the_zip_says",
    ),
    "code named by a model": (f"{_CONVERTER}/importers/keras/test_allowed.py",),
    "ops of a graph that write, read or send": (
        f"{_CONVERTER}/importers/tensorflow/test_hostile.py::"
        "test_an_op_that_may_do_more_than_compute_is_refused_by_its_name_and_with_the_reason",
        f"{_CONVERTER}/importers/tensorflow/test_hostile.py::"
        "test_nothing_was_written_or_read_though_tensorflow_itself_would_have",
        "tests/attacks/test_model_files.py",
    ),
    "what a model runs while it is loaded": (
        f"{_CONVERTER}/importers/tensorflow/test_hostile.py::"
        "test_an_initializer_is_not_run_which_is_told_and_the_model_answers",
    ),
    "weights from other files": (
        f"{_CONVERTER}/importers/keras/test_containers.py",
        f"{_CONVERTER}/importers/tensorflow/test_hostile.py::test_a_link_out_of_the_models_folder_is_not_followed",
    ),
    "graph without an end": (
        f"{_CONVERTER}/importers/tensorflow/test_hostile.py::"
        "test_a_graph_without_an_end_or_with_weights_from_elsewhere",
    ),
    "code in a model that no list refused": (
        f"{_CONVERTER}/importers/test_confined.py::test_code_in_a_model_writes_nothing_even_if_nobody_refused_it",
    ),
    "model that takes over what reads it": (
        f"{_AGENT}/confinement/test_confine.py",
        f"{_AGENT}/confinement/test_filters.py",
        f"{_CONVERTER}/importers/test_confined.py::test_an_importer_that_is_taken_over_gets_nowhere",
        f"{_CONVERTER}/importers/test_confined.py::test_a_rung_does_not_reach_what_another_one_made",
    ),
    "model that takes over what runs it": (
        f"{_CONVERTER}/cli/test_confined.py::test_a_model_that_takes_over_the_converter_gets_nowhere",
        f"{_CONVERTER}/cli/test_confined.py::"
        "test_every_command_that_reads_a_model_is_confined_before_numpy_has_threads",
        f"{_CONVERTER}/base/test_sandbox.py",
    ),
    "model where the kernel cannot confine": (
        f"{_CONVERTER}/importers/test_confined.py::test_it_takes_trust",
        f"{_CONVERTER}/importers/test_confined.py::test_a_tflite_file_is_read_and_it_is_told_once",
        f"{_CONVERTER}/cli/test_confined.py::test_where_the_kernel_cannot_it_is_said_and_gone_on",
    ),
    "root beside the publisher's keys": (
        f"{_CONVERTER}/publishing/keys/test_slipped_in.py::"
        "test_a_root_that_names_our_keys_and_is_not_ours_gets_nothing_signed",
        f"{_CONVERTER}/publishing/test_publishing.py::test_what_was_shown_is_what_is_signed",
    ),
    "links, pipes and paths in the repository": tuple(
        f"{_CONVERTER}/publishing/keys/test_slipped_in.py::{name}"
        for name in (
            "test_a_link_in_the_place_of_a_folder_leads_nowhere",
            "test_dropping_a_change_drops_what_is_of_the_change",
            "test_a_change_names_no_file_outside_of_its_folder",
            "test_a_pipe_or_a_file_without_an_end_keeps_nobody",
            "test_whoever_looks_whether_it_is_whole_waits_for_no_pipe",
        )
    ),
}
"""The tests of each, as pytest takes them."""


def played_by(part: str = "") -> list[str]:
    """The tests of all attacks whose names hold ``part``."""
    return list(dict.fromkeys(test for name, tests in ELSEWHERE.items() if part in name for test in tests))


if __name__ == "__main__":
    print(" ".join(played_by(*sys.argv[1:2])))
