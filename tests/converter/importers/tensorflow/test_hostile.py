"""SavedModels that do more than answer, and others that must go on being read; those of `making_hostile`."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.importers.digest import digest_of
from tests.converter.importers.workshop import outcomes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return outcomes(tmp_path_factory, "tensorflow.making_hostile")


@pytest.fixture(scope="module")
def facts(models):
    """What came of the attacks besides sentences."""
    return json.loads((Path(models["write"].samples).parent / "facts.json").read_text())


REFUSED = {
    "write": "WriteFile .* reads or writes files",
    "branch": "WriteFile .* reads or writes files",
    "loop": "WriteFile .* reads or writes files",
    "read": "ReadFile .* reads or writes files",
    "glob": "MatchingFiles .* reads or writes files",
    "print": "PrintV2 .* writes logs or files",
    "python": "PyFunc .* calls Python",
    "save": "SaveV2 .* reads or writes files",
    "restore": "RestoreV2 .* reads or writes files",
    "merge": "MergeV2Checkpoints .* reads or writes files",
    "records": "TensorDataset .* gets data of its own",
    "summary": "SummaryWriter .* writes logs or files",
    "mapped": "ImmutableConst .* reads or writes files",
    "debugged": "DebugIdentityV2 .* writes logs or files",
    "elsewhere": "RemoteCall .* talks to other machines",
    "together": "CollectiveReduceV2 .* talks to other machines",
    "ended": "Abort .* reaches into the process",
    "datasets": "TensorDataset .* gets data of its own",
    "named_like_an_op": "WriteFile .* at once a function in it and TensorFlow's own",
    "calls_an_op": "PartitionedCall .* calls 'WriteFile', which is no function in it",
    "XlaCallModule": "XlaCallModule .* runs code compiled from what the file holds",
    "_HostSend": "_HostSend .* talks to other machines",
    "NcclAllReduce": "NcclAllReduce .* talks to other machines",
    "TPUExecute": "TPUExecute .* is for hardware that is not here",
    "handle": "Const .* is a constant of no numbers",
    "of_a_library": "OfMine .* is of a library of its own",
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_op_that_may_do_more_than_compute_is_refused_by_its_name_and_with_the_reason(models, name):
    assert models[name].path is None
    assert not models[name].passed
    sentence = models[name].said
    assert sentence.startswith("its graph may do more than compute: the op "), sentence
    assert len(sentence.splitlines()) == 1
    assert re.search(REFUSED[name], sentence), sentence
    assert "--trust" in sentence


def test_nothing_was_written_or_read_though_tensorflow_itself_would_have(models, facts):
    assert facts["loaded"], "TensorFlow's own loader runs the initializer: the attack works"
    assert facts["reached"], "with --trust the op is run"
    assert facts["left"] == []


def test_an_initializer_is_not_run_which_is_told_and_the_model_answers(models):
    np.testing.assert_allclose(models["initializer"].answers(), models["initializer"].expected, atol=1e-5)
    assert "TensorFlow would run WriteFile while it loads the model; that is not run here" in models["initializer"].said


def test_a_file_of_words_that_the_answer_does_not_need_is_not_looked_for(models):
    np.testing.assert_allclose(models["words"].answers(), models["words"].expected, atol=1e-5)


BROKEN = {
    "restorer": r"its variable 'w' has no value in variables/variables\.\*: TensorFlow would fill it in",
    "other-weights": r"there is no '\.\./\.\./secret' in variables/variables\.index",
    "empty-weights": r"damaged or truncated: 48 bytes are 0 in its files",
    "doubling": r"more than 1,000,000 ops when its functions are written out",
    "endless": r"its function 'f' calls itself",
    "deep": r"call each other more than 100 deep",
    "absurd": r"3\.73e\+03 GiB when written out",
    "typeless": r"it names the type number 100, which is none of TensorFlow's",
    "LookupTableFindV2": r"it looks values up in a table",
    "twice": r"is in its graph twice",
    "nowhere": r"its signature names 'nowhere', which is not in its graph",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_graph_without_an_end_or_with_weights_from_elsewhere(models, name):
    assert models[name].path is None
    assert re.search(BROKEN[name], models[name].said), models[name].said


@pytest.mark.parametrize("name", ["varied", "parted-refs", "parted-resources"])
def test_variables_wherever_they_are_have_the_values_that_tensorflow_gives_them(models, name):
    np.testing.assert_allclose(models[name].answers(), models[name].expected, atol=1e-5)


def test_what_is_listed_is_declared_to_compute_by_tensorflow_too(facts):
    assert facts["strange"] == []


def test_a_link_out_of_the_models_folder_is_not_followed(tmp_path):
    model, secret = tmp_path / "model", tmp_path / "secret"
    (model / "variables").mkdir(parents=True)
    secret.write_text("the key")
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "copy").symlink_to("saved_model.pb")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1f").write_text("as a cache of downloads keeps them")
    (model / "kept").symlink_to("../blobs/1f")
    assert len(digest_of(model)) == 64
    (model / "variables" / "variables.data-00000-of-00001").symlink_to(secret)
    with pytest.raises(DataError, match=r"variables\.data.* is a link out of the model's folder: .*cp -rL"):
        digest_of(model)
    (model / "variables" / "variables.data-00000-of-00001").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(DataError, match=r"pipe is neither a file nor a folder"):
        digest_of(model)
