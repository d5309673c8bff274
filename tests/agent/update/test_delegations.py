"""Delegated roles: a team publishes its own models with its own key, and nobody else's."""

from functools import partial
from pathlib import Path

import msgspec
import pytest

from maas_agent.bundle.signature import Envelope, KeySignature, signed_bytes
from maas_agent.update.protocol import Wanted
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site
from tests.bundles import make_bundle


@pytest.fixture
def team(publisher: Publisher) -> Publisher:
    """``team`` may publish ``faces``, and does; ``digits`` is in the top-level targets."""
    publisher.publish("1.0.0", "digits")
    publisher.delegate("team", "faces/*/*")
    publisher.publish("1.0.0", "faces", role="team")
    publisher.release()
    return publisher


def test_a_delegated_role_offers_its_models_on_its_channels(
    its_device: Device, its_site: Site, team: Publisher
) -> None:
    """And is only asked for where one of them is wanted."""
    assert its_device.update(model="digits").version == "1.0.0"
    assert not any("team" in path for path in its_site.requests)
    outcome = its_device.update(model="faces")
    assert (outcome.result, outcome.version) == ("tested", "1.0.0")


def test_a_delegated_role_cannot_offer_what_was_not_delegated(its_device: Device, team: Publisher) -> None:
    """Its key signs a newer version of somebody else's model, a channel and a revocation for it: nobody looks."""
    team.publish("2.0.0", "digits", role="team")
    team.revoke("1.0.0", "says who?", "digits", role="team")
    team.release()
    for model in ("faces", "digits"):
        assert its_device.update(model=model).version == "1.0.0"
    both = its_device.updates(Wanted(pipeline="f", model="faces"), Wanted(pipeline="d", model="digits"))
    assert [(outcome.version, outcome.revoked) for outcome in both] == [("1.0.0", {}), ("1.0.0", {})]


def test_the_first_role_in_order_counts_and_one_that_terminates_is_the_last(
    its_device: Device, team: Publisher
) -> None:
    """As TUF searches: what the first has, the second cannot replace; after a terminating one there is no second."""
    team.delegate("late", "faces/*/*", "cats/*/*")
    team.delegate("first", "cats/*/*", terminating=False)
    team.publish("3.0.0", "faces", role="late")
    roles = team.targets.delegations.roles if team.targets.delegations else None
    assert roles is not None
    roles["late"] = roles.pop("late")  # after "first"
    team.publish("1.0.0", "cats", role="first", seed=1)
    team.publish("1.0.0", "cats", role="late", seed=2)
    team.publish("1.1.0", "cats", role="late", channel="beta", seed=3)
    team.release()
    assert its_device.update(model="faces").version == "1.0.0"
    first = team.roles["first"].targets["cats/1.0.0/manifest.json"]
    assert its_device.update(model="cats").digest == first.hashes["sha256"]
    assert its_device.update(model="cats", channel="beta").version == "1.1.0"


def test_a_role_that_a_delegated_role_delegates_to_counts_within_its_own_paths(
    its_device: Device, team: Publisher
) -> None:
    """Both must allow the path."""
    team.delegate("intern", "*/*/*", to="team")
    team.publish("1.1.0", "faces", role="intern")
    team.publish("9.0.0", "digits", role="intern")
    team.point("1.1.0", name="faces", role="team")
    team.release()
    outcomes = its_device.updates(Wanted(pipeline="f", model="faces"), Wanted(pipeline="d", model="digits"))
    assert [outcome.version for outcome in outcomes] == ["1.1.0", "1.0.0"]


def test_what_is_wrong_with_one_role_is_not_held_against_other_models(
    its_device: Device, its_site: Site, team: Publisher
) -> None:
    """Expired, missing, or a channel that is none: the other team goes on."""
    wanted = (Wanted(pipeline="f", model="faces"), Wanted(pipeline="d", model="digits"))
    team.release(expired=("team",))
    faces, digits = its_device.updates(*wanted)
    assert (faces.result, faces.set_aside, digits.result) == ("failed", False, "tested")
    assert str(faces.reason).startswith("the repository's team metadata expired on ")
    team.roles["team"].unrecognized_fields["channels"] = {"faces": {"stable": "newest"}}
    team.release()
    faces, digits = its_device.updates(*wanted)
    assert faces.reason == "the repository's channels are not readable: 'newest' is no version"
    assert digits.result == "tested"
    team.point("1.0.0", name="faces", role="team")
    team.release()
    its_site.answers["team.json"] = lambda handler: handler.send_error(503)
    faces, digits = its_device.updates(*wanted)
    assert faces.reason == f"cannot fetch metadata from {its_site.url}: the server answers 503"
    assert digits.result == "tested"


def test_a_delegated_role_by_the_name_of_a_top_level_one_is_refused(its_device: Device, team: Publisher) -> None:
    """Its file would take the place of the timestamp on the device, and with it the memory of what was newest."""
    team.delegate("timestamp", "faces/*/*")
    team.roles.pop("timestamp")
    team.release()
    outcome = its_device.update(model="faces")
    assert str(outcome.reason).startswith(f"the metadata of {its_device.url} is not to be trusted: ")


def test_too_many_delegated_roles_are_refused(its_device: Device, team: Publisher) -> None:
    """Each costs a request: whoever can delegate must not be able to keep a device busy."""
    for number in range(40):
        team.delegate(f"role-{number}", "faces/*/*", terminating=False)
    team.release()
    assert "more than 32 roles are delegated" in str(its_device.update(model="faces").reason)


def test_metadata_of_a_delegated_role_that_another_key_signed_is_not_trusted(
    its_device: Device, team: Publisher
) -> None:
    """The snapshot names it, and still it takes the key that was delegated to."""
    team.keys["team"] = team.keys["targets"]
    team.release()
    assert str(its_device.update(model="faces").reason).endswith("team was signed by 0/1 keys")


def signed(team: Publisher, role: str, path: Path, name: str) -> Path:
    """A bundle that the key of this role signed."""
    signer = team.keys[role]

    def sign(manifest: bytes) -> bytes:
        made = signer.sign(signed_bytes(manifest))
        return msgspec.json.encode(Envelope((KeySignature(made.keyid, made.signature),)))

    return make_bundle(path / f"{role}-{name}.maas", name, "5.0.0", sign=sign)


def test_a_file_signed_by_a_delegated_key_is_taken_for_its_models_only(
    its_device: Device, team: Publisher, tmp_path: Path
) -> None:
    """The device knows the role from the last time it saw the repository."""
    install = partial(its_device.update, model=None)
    faces = str(signed(team, "team", tmp_path, "faces"))
    before = install(bundle=faces)
    assert before.reason == "the bundle's signature is not the repository's: 0 of the 1 keys it takes have signed"
    its_device.update(model="faces")
    its_device.url = "http://127.0.0.1:9"
    assert install(bundle=faces).result == "tested"
    assert install(bundle=str(signed(team, "targets", tmp_path, "faces"))).result == "tested"
    assert install(bundle=str(signed(team, "team", tmp_path, "digits"))).result == "failed"
    assert install(bundle=str(signed(team, "timestamp", tmp_path, "faces"))).result == "failed"


def test_a_file_signed_by_a_key_that_was_rotated_since_is_refused(
    its_device: Device, team: Publisher, tmp_path: Path
) -> None:
    """The root file on the device is old; the newest root it has seen counts, also when its files are lost."""
    old = str(signed(team, "targets", tmp_path, "digits"))
    assert its_device.update(model=None, bundle=old).result == "tested"
    team.rotate("targets")
    team.release()
    its_device.update(model="digits")
    assert "0 of the 1 keys" in str(its_device.update(model=None, bundle=old).reason)
    for path in (its_device.store / "tuf" / "root_history").iterdir():
        path.unlink()
    assert "is an old copy, replayed" in str(its_device.update(model=None, bundle=old).reason)


def test_a_file_of_a_revoked_version_is_refused(its_device: Device, team: Publisher, tmp_path: Path) -> None:
    """Signed while it was good."""
    path = str(signed(team, "targets", tmp_path, "digits"))
    team.revoke("5.0.0", "leaks", "digits")
    team.release()
    its_device.update(model="digits")
    assert its_device.update(model=None, bundle=path).reason == "digits 5.0.0 is revoked: leaks"


def test_a_role_that_signs_a_number_for_a_name_is_not_held_against_other_models(
    its_device: Device, team: Publisher
) -> None:
    """python-tuf does not look at types: what a team signed ended the puller, for all models."""
    wanted = (Wanted(pipeline="f", model="faces"), Wanted(pipeline="d", model="digits"))
    team.delegate("intern", "*/*/*", to="team")
    delegations = team.roles["team"].delegations
    assert delegations is not None and delegations.roles is not None
    intern = delegations.roles.pop("intern")
    intern.name = 7  # type: ignore[assignment]
    delegations.roles[7] = intern  # type: ignore[index]
    team.roles.pop("intern")
    team.release()
    faces, digits = its_device.updates(*wanted)
    assert "metadata of the type targets is malformed" in str(faces.reason)
    assert digits.result == "tested"
