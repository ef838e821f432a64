import pytest

from chipfit.errors import RecordError
from chipfit.report.record import Records, write_atomically


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "records.jsonl")


def test_what_is_appended_is_read_back_in_order(records):
    records.append("run", task="digits")
    records.append("note", text="first")
    assert records.read() == [{"kind": "run", "task": "digits"}, {"kind": "note", "text": "first"}]


def test_the_last_record_with_given_fields_is_found(records):
    for value in (1, 2):
        records.append("candidate", name="a", value=value, chosen=value == 1)
    assert records.last("candidate")["value"] == 2
    assert records.last("candidate", chosen=True)["value"] == 1
    assert records.last("final") is None


def test_without_a_file_there_is_no_last_record(records):
    assert records.last("run") is None


def test_mending_cuts_off_only_a_broken_last_line(records):
    records.append("note", text="whole")
    whole = records.path.read_bytes()
    records.path.write_bytes(whole + b'{"kind": "note", "te')
    records.mend()
    assert records.path.read_bytes() == whole
    records.mend()
    assert records.path.read_bytes() == whole


def test_a_line_that_is_not_json_is_named(records):
    records.path.write_text('{"kind": "note", "text": "a"}\nnonsense\n')
    with pytest.raises(RecordError) as error:
        records.read()
    assert str(error.value) == f"{records.path}, line 2: not JSON: Expecting value"


@pytest.mark.parametrize("line", ["[]", '{"kind": "other"}', "{}"])
def test_a_line_that_is_not_a_record_is_named(records, line):
    records.path.write_text(line + "\n")
    with pytest.raises(RecordError) as error:
        records.read()
    assert str(error.value) == f"{records.path}, line 1: not a record of a run"


def test_records_that_are_not_there_are_an_error(records):
    with pytest.raises(RecordError, match=r"cannot read records from .*records.jsonl"):
        records.read()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(RecordError) as error:
        Records(tmp_path / "missing" / "records.jsonl").append("note", text="a")
    assert str(error.value) == (
        f"cannot write records to {tmp_path}/missing/records.jsonl: No such file or directory"
    )


def test_an_atomic_write_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_that_fails_is_an_error(tmp_path):
    with pytest.raises(RecordError) as error:
        write_atomically(tmp_path / "missing" / "a", b"")
    assert str(error.value) == f"cannot write {tmp_path}/missing/a: No such file or directory"
