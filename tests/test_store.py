"""The folder of a data set: records vouch for shards, one configuration a folder, manifests that agree with what is there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from insdl.dataset.store import default_shard_size, open_store, prepare_store
from small_source import SmallSource

N, SIZE = 23, 5


@pytest.fixture
def store(tmp_path: Path):
    return prepare_store(tmp_path / "set", SmallSource(N), shard_size=SIZE)


def test_shards_cover_every_sample_once(store) -> None:
    assert [i for shard in range(store.n_shards) for i in store.indices(shard)] == list(range(N))
    with pytest.raises(ValueError, match="numbered 0 to 4, got 5"):
        store.indices(5)


def test_a_record_vouches_for_its_file(store) -> None:
    assert store.missing() == [0, 1, 2, 3, 4]
    record = store.make_shard(SmallSource(N), 4)
    path = store.path(4)
    assert (record.begin, record.end, record.file) == (20, 23, "shards/000/000004.h5")
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.bytes == path.stat().st_size
    assert (record.gave_up, record.replaced) == (1, 2 + 0 + 1)  # sample 22; 20 % 3, 21 % 3, 22 % 3
    assert store.missing() == [0, 1, 2, 3]
    assert store.record(4) == record


@pytest.mark.parametrize("how", ["no file", "no record", "longer", "shorter", "other samples", "no JSON", "a list"])
def test_a_shard_without_a_good_record_is_missing_and_made_again(store, how: str) -> None:
    source = SmallSource(N)
    good = store.make_shard(source, 1)
    path = store.path(1)
    said, data = path.with_suffix(".json"), path.read_bytes()
    match how:
        case "no file":
            path.unlink()
        case "no record":
            said.unlink()
        case "longer":
            path.write_bytes(data + b"x")
        case "shorter":
            path.write_bytes(data[:-1])
        case "other samples":
            said.write_text(json.dumps({**json.loads(said.read_text()), "begin": 0}))
        case "no JSON":
            said.write_text("{")
        case "a list":
            said.write_text("[]")
    assert store.record(1) is None
    assert store.make_shard(source, 1) == good
    assert path.read_bytes() == data


def test_a_shard_that_is_there_is_not_made_again(store) -> None:
    class Never(SmallSource):
        def make(self, indices, *, threads=None):
            raise AssertionError("simulated again")

    record = store.make_shard(SmallSource(N), 2)
    assert store.make_shard(Never(N), 2) == record


def test_missing_of_a_part(store) -> None:
    store.make_shard(SmallSource(N), 3)
    assert store.missing(part=(0, 2)) == [0, 2, 4]
    assert store.missing(part=(1, 2)) == [1]


def test_status_and_manifest(store) -> None:
    for shard in (0, 3):
        store.make_shard(SmallSource(N), shard)
    status = store.write_manifest()
    assert status == store.status()
    assert (status.done_samples, status.done_shards, status.complete) == (10, 2, False)
    assert status.missing == ((5, 15), (20, 23))
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert manifest["missing"] == [[5, 15], [20, 23]]
    assert not manifest["complete"]
    assert [shard["sha256"] for shard in manifest["shards"]] == [store.record(k).sha256 for k in (0, 3)]


def test_a_manifest_knows_what_another_run_adds_while_it_is_written(store, monkeypatch: pytest.MonkeyPatch) -> None:
    from insdl.dataset import store as module

    write, source = module.write_durably, SmallSource(N)

    def slow(path: Path, data: bytes) -> None:
        if path.name == "manifest.json" and store.record(4) is None:
            store.make_shard(source, 4)
        write(path, data)

    monkeypatch.setattr(module, "write_durably", slow)
    store.make_shard(source, 0)
    assert store.write_manifest().done_shards == 2
    assert len(json.loads((store.folder / "manifest.json").read_text())["shards"]) == 2


def test_quarantine_keeps_every_bad_file_with_its_reason(store) -> None:
    for reason in ("first", "second"):
        store.make_shard(SmallSource(N), 1)
        store.quarantine(1, reason)
        assert store.record(1) is None
        assert not store.path(1).exists()
    place = store.folder / "quarantine"
    assert sorted(path.name for path in place.iterdir()) == [
        "000001-1.h5", "000001-1.json", "000001-2.h5", "000001-2.json",
    ]  # fmt: skip
    assert json.loads((place / "000001-2.json").read_text())["reason"] == "second"
    assert store.status().quarantined == 2


def test_the_same_configuration_goes_on_without_being_told_how_it_is_kept(tmp_path: Path) -> None:
    first = prepare_store(tmp_path, SmallSource(N), shard_size=7, content="parameters", compression=3)
    again = prepare_store(tmp_path, SmallSource(N))
    assert again.configuration == first.configuration == open_store(tmp_path).configuration


def test_another_configuration_is_refused_with_the_first_difference(store) -> None:
    for source, options, said in (
        (SmallSource(N, seed=1), {}, "seed is 0 there and 1 here"),
        (SmallSource(N + 1), {}, "n_samples is 23 there and 24 here"),
        (SmallSource(N), {"shard_size": 6}, "shard_size is 5 there and 6 here"),
        (SmallSource(N), {"content": "parameters"}, 'content is "images" there and "parameters" here'),
        (SmallSource(N), {"compression": 2}, "compression is 1 there and 2 here"),
    ):
        with pytest.raises(ValueError, match=f"holds a data set of another configuration: {said}"):
            prepare_store(store.folder, source, **options)


def test_another_version_is_refused(store, monkeypatch: pytest.MonkeyPatch) -> None:
    import insdl

    monkeypatch.setattr(insdl, "__version__", "9.0")
    with pytest.raises(ValueError, match=r'insdl is "0\.1\.0" there and "9.0" here'):
        prepare_store(store.folder, SmallSource(N))


def test_a_difference_deep_in_the_source_is_named(tmp_path: Path) -> None:
    class Deep(SmallSource):
        def __init__(self, value: float) -> None:
            super().__init__(N)
            self.value = value

        def describe(self):
            return {**super().describe(), "prior": [{"low": 1.0}, {"low": self.value}]}

    prepare_store(tmp_path, Deep(2.0))
    with pytest.raises(ValueError, match=r"source.prior\[1\].low is 2.0 there and 2.5 here"):
        prepare_store(tmp_path, Deep(2.5))


def test_folders_that_are_not_data_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file; a folder is needed"):
        prepare_store(tmp_path / "file", SmallSource(N))
    with pytest.raises(ValueError, match="holds 'file' but no data set"):
        prepare_store(tmp_path, SmallSource(N))
    with pytest.raises(ValueError, match=r"there is no configuration\.json"):
        open_store(tmp_path)
    for text in ("{", "[]", '{"format": "other"}', '{"format": "insdl data set 1"}'):
        (tmp_path / "configuration.json").write_text(text)
        with pytest.raises(ValueError, match="is not that of a data set"):
            open_store(tmp_path)
    with pytest.raises(ValueError, match="shard_size must be at least 1"):
        prepare_store(tmp_path / "new", SmallSource(N), shard_size=0)
    assert not (tmp_path / "new" / "configuration.json").exists()


def test_default_shards_hold_64_mebibytes() -> None:
    assert default_shard_size((60, 40, 40)) == 256  # 49 MB; twice as many would be 98
    assert default_shard_size((8, 64, 64)) == 1024
    assert default_shard_size((10_000, 100, 100)) == 1
    assert default_shard_size((8, 64, 64), "parameters") == 65536
