import os
import random
import unicodedata
from pathlib import Path

import pytest

from img2img.batch import Rules, Shard, plan, shard_from_environment
from img2img.batch.inputs import matcher
from img2img.batch.outputs import output_name
from img2img.errors import PlanError, UsageError
from img2img.image.discovery import collision_key


def tree(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by the plan")
    return folder


def mapping(the_plan, root: Path) -> dict[str, str]:
    return {
        item.source.relative_to(root).as_posix(): item.output.relative_to(root).as_posix()
        for item in the_plan.items
    }


def test_one_folder_is_mirrored_under_the_output(tmp_path):
    tree(tmp_path / "in", "a.jpg", "sub/b.PNG", "sub/deep/c.tif", "notes.txt")
    assert mapping(plan([tmp_path / "in"], tmp_path / "out"), tmp_path) == {
        "in/a.jpg": "out/a.jpg",
        "in/sub/b.PNG": "out/sub/b.PNG",
        "in/sub/deep/c.tif": "out/sub/deep/c.tif",
    }
    assert not (tmp_path / "out").exists()


def test_several_folders_keep_their_names_and_files_go_by_theirs(tmp_path):
    tree(tmp_path / "x" / "cats", "1.jpg")
    tree(tmp_path / "dogs", "1.jpg")
    tree(tmp_path, "single.png")
    made = plan([tmp_path / "x" / "cats", tmp_path / "dogs", tmp_path / "single.png"], tmp_path / "out")
    assert mapping(made, tmp_path) == {
        "x/cats/1.jpg": "out/cats/1.jpg",
        "dogs/1.jpg": "out/dogs/1.jpg",
        "single.png": "out/single.png",
    }


def test_random_trees_are_mirrored_one_to_one(tmp_path):
    rng = random.Random(3)
    names = {
        "/".join(rng.choice("pqr") + str(rng.randrange(9)) for _ in range(rng.randrange(1, 5))) + f"_{i}.png"
        for i in range(300)
    }
    tree(tmp_path / "in", *names)
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert mapping(made, tmp_path) == {f"in/{name}": f"out/{name}" for name in names}


def test_relative_inputs_give_relative_places(tmp_path, monkeypatch):
    tree(tmp_path / "in", "a.jpg", "b/c.jpg")
    monkeypatch.chdir(tmp_path / "in")
    assert [item.relative for item in plan([Path()], tmp_path / "out").items] == ["a.jpg", "b/c.jpg"]
    monkeypatch.chdir(tmp_path / "in" / "b")
    assert [item.relative for item in plan([Path("..")], tmp_path / "out").items] == ["a.jpg", "b/c.jpg"]
    both = plan([Path(".."), Path()], tmp_path / "out")
    assert [item.relative for item in both.items] == ["in/a.jpg", "in/b/c.jpg", "b/c.jpg"]


def test_the_order_is_natural(tmp_path):
    tree(tmp_path / "in", "img10.png", "img9.png", "IMG1.png", "b2/x.png", "b10/x.png")
    assert [item.relative for item in plan([tmp_path / "in"], tmp_path / "out").items] == [
        "b2/x.png", "b10/x.png", "IMG1.png", "img9.png", "img10.png",
    ]  # fmt: skip


def test_system_files_are_passed_over(tmp_path):
    tree(tmp_path / "in", "a.jpg", "._a.jpg", "Thumbs.db", ".DS_Store", "@eaDir/a.jpg", "__MACOSX/a.jpg")
    assert [item.relative for item in plan([tmp_path / "in"], tmp_path / "out").items] == ["a.jpg"]


def test_not_recursive(tmp_path):
    tree(tmp_path / "in", "a.jpg", "sub/b.jpg")
    made = plan([tmp_path / "in"], tmp_path / "out", Rules(recursive=False))
    assert [item.relative for item in made.items] == ["a.jpg"]


@pytest.mark.parametrize(
    ("name", "rules", "expected"),
    [
        ("a.jpg", Rules(), "a.jpg"),
        ("A.JPG", Rules(), "A.JPG"),
        ("hopper.gif", Rules(), "hopper.gif.png"),
        ("a.tga", Rules(), "a.tga.png"),
        ("photo", Rules(), "photo.png"),
        ("a.b.jpg", Rules(suffix="_x4"), "a.b_x4.jpg"),
        ("hopper.gif", Rules(suffix="_x4"), "hopper_x4.gif.png"),
        ("a.jpg", Rules(extension="png"), "a.png"),
        ("a.JPG", Rules(suffix="-o", extension=".PNG"), "a-o.png"),
        ("hopper.gif", Rules(extension="webp"), "hopper.webp"),
    ],
)
def test_name_rule(name, rules, expected, tmp_path):
    assert output_name(name, rules.suffix, rules.extension) == expected
    tree(tmp_path, name)
    assert plan([tmp_path / name], tmp_path / "out", rules).items[0].output == tmp_path / "out" / expected


def test_gif_and_png_of_one_name_never_meet(tmp_path):
    tree(tmp_path / "in", "hopper.gif", "hopper.png")
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert {item.output.name for item in made.items} == {"hopper.gif.png", "hopper.png"}


@pytest.mark.parametrize("rules", [{"extension": "gif"}, {"extension": "nope"}, {"suffix": "a/b"}])
def test_impossible_rules_are_refused(rules):
    with pytest.raises(PlanError):
        Rules(**rules)


NFC, NFD = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("one", "other", "rules"),
    [
        ("a.jpg", "a.png", Rules(extension="png")),
        ("a.gif", "a.gif.png", Rules()),
        ("a.png", "A.png", Rules()),
        ("Sub/a.png", "sub/a.png", Rules()),
        (NFC, NFD, Rules()),
        ("x.gif", "x.gif.png/y.png", Rules()),
        ("a.png", "a_b.png", None),
    ],
)
def test_collisions_are_refused_with_both_names(tmp_path, one, other, rules):
    tree(tmp_path / "in", one, other)
    if rules is None:  # the control: two names that have nothing to do with each other
        assert len(plan([tmp_path / "in"], tmp_path / "out").items) == 2
        return
    with pytest.raises(PlanError) as caught:
        plan([tmp_path / "in"], tmp_path / "out", rules)
    assert Path(one).name in str(caught.value)
    assert Path(other).name in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_collision_of_another_shard_is_refused_too(tmp_path):
    tree(tmp_path / "in", "a.jpg", "a.png", *(f"{i}.png" for i in range(10)))
    for index in (1, 2, 3):
        with pytest.raises(PlanError, match=r"a\.png"):
            plan([tmp_path / "in"], tmp_path / "out", Rules(extension="png", shard=Shard(index, 3)))


def test_sharp_s_is_not_two_s(tmp_path):
    tree(tmp_path / "in", "Fuß.png", "Fuss.png")
    assert len(plan([tmp_path / "in"], tmp_path / "out").items) == 2
    assert collision_key("ÄÖ") == collision_key(unicodedata.normalize("NFD", "äö"))


def test_folders_of_one_name_are_refused(tmp_path):
    one, other = tree(tmp_path / "x/photos", "1.jpg"), tree(tmp_path / "y/Photos", "2.jpg")
    with pytest.raises(PlanError, match=r"(?s)x/photos.*y/Photos"):
        plan([one, other], tmp_path / "out")


def test_the_same_input_twice_is_one(tmp_path, monkeypatch):
    tree(tmp_path / "in", "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    assert len(plan([Path("in"), tmp_path / "in", Path("in/a.jpg")], tmp_path / "out").items) == 2


@pytest.mark.parametrize("output", ["in", "in/out", "in/sub", "in/sub/../new/deeper"])
def test_output_on_or_inside_the_input_is_refused(tmp_path, output):
    tree(tmp_path / "in", "a.jpg", "sub/b.jpg")
    with pytest.raises(PlanError, match="input folder"):
        plan([tmp_path / "in"], tmp_path / output, Rules(suffix="_x4"))


def test_output_inside_the_input_through_a_link_is_refused(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    with pytest.raises(PlanError, match="input folder"):
        plan([tmp_path / "in"], tmp_path / "alias" / "out")
    with pytest.raises(PlanError, match="input folder"):
        plan([tmp_path / "alias"], tmp_path / "in")


def test_input_inside_the_output_is_refused_only_when_it_could_be_hit(tmp_path):
    tree(tmp_path / "photos", "a.jpg")
    assert len(plan([tmp_path / "photos"], tmp_path).items) == 1
    tree(tmp_path / "photos", "photos/a.jpg")
    with pytest.raises(PlanError, match="in the input folder"):
        plan([tmp_path / "photos"], tmp_path)
    tree(tmp_path / "other", "b.jpg")
    with pytest.raises(PlanError, match="in the input folder"):
        plan([tmp_path / "photos", tmp_path / "other"], tmp_path)


def test_a_single_file_is_never_its_own_output(tmp_path):
    tree(tmp_path, "a.jpg", "b.JPG")
    for output in (tmp_path, tmp_path / "a.jpg", tmp_path / "A.jpg"):
        with pytest.raises(PlanError, match="would replace the input"):
            plan([tmp_path / "a.jpg"], output)
    assert plan([tmp_path / "a.jpg"], tmp_path, Rules(suffix="_x4")).items[0].output.name == "a_x4.jpg"


def test_an_output_that_is_a_link_to_a_source_is_refused(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    tree(tmp_path / "out")
    (tmp_path / "out" / "a.jpg").symlink_to(tmp_path / "in" / "a.jpg")
    with pytest.raises(PlanError, match="would replace the input"):
        plan([tmp_path / "in"], tmp_path / "out")


def test_an_input_that_is_a_link_protects_what_it_leads_to(tmp_path):
    tree(tmp_path / "store", "a.jpg")
    (tmp_path / "a.jpg").symlink_to(tmp_path / "store" / "a.jpg")
    with pytest.raises(PlanError, match="would replace the input"):
        plan([tmp_path / "a.jpg"], tmp_path / "store")


@pytest.mark.parametrize("target", ["in", "elsewhere"])
def test_links_below_the_output_do_not_lead_out_of_it(tmp_path, target):
    tree(tmp_path / "in", "sub/a.jpg")
    tree(tmp_path / "elsewhere")
    tree(tmp_path / "out")
    (tmp_path / "out" / "sub").symlink_to(tmp_path / target)
    with pytest.raises(PlanError, match=r"input folder|leave the output folder"):
        plan([tmp_path / "in"], tmp_path / "out")


def test_links_to_files_stand_where_they_are_and_folders_are_followed_on_request(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    tree(tmp_path / "more", "b.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "more")
    (tmp_path / "in" / "c.jpg").symlink_to(tmp_path / "more" / "b.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert [i.relative for i in made.items] == ["a.jpg", "c.jpg"]
    assert [(u.source.name, "nowhere" in u.reason) for u in made.unreadable] == [("gone.jpg", True)]
    assert len(made.notes) == 1 and "2 links to folders" in made.notes[0]
    assert not plan([tmp_path / "in"], tmp_path / "out", Rules(exclude=("link", "loop"))).notes
    followed = plan([tmp_path / "in"], tmp_path / "out", Rules(follow_symlinks=True))
    assert [i.relative for i in followed.items] == ["a.jpg", "c.jpg", "link/b.jpg"]
    assert not followed.notes


def test_what_a_link_in_an_input_folder_leads_to_is_never_written(tmp_path):
    tree(tmp_path / "in", "x.jpg")
    tree(tmp_path / "out", "a.jpg")
    (tmp_path / "in" / "a.jpg").symlink_to(tmp_path / "out" / "a.jpg")
    with pytest.raises(PlanError, match="would replace the input"):
        plan([tmp_path / "in"], tmp_path / "out")


def test_a_link_into_the_output_is_refused_when_links_are_followed(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    tree(tmp_path / "out", "old.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(PlanError, match="output folder"):
        plan([tmp_path / "in"], tmp_path / "out", Rules(follow_symlinks=True))


def test_single_file_outputs(tmp_path):
    tree(tmp_path, "a.jpg", "b.jpg", "plain")
    made = plan([tmp_path / "a.jpg"], tmp_path / "new" / "result.webp")
    assert (made.items[0].output, made.root) == (tmp_path / "new" / "result.webp", None)
    tree(tmp_path / "folder.png")
    assert plan([tmp_path / "a.jpg"], tmp_path / "folder.png").items[0].output.name == "a.jpg"
    assert plan([tmp_path / "a.jpg"], tmp_path / "v1.5").items[0].output == tmp_path / "v1.5" / "a.jpg"
    refusals = [
        ([tmp_path / "a.jpg"], tmp_path / "x.gif", Rules(), "not a format"),
        ([tmp_path / "a.jpg"], tmp_path / "x.png", Rules(extension="jpg"), "contradict"),
        ([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "x.png", Rules(), "named like one picture"),
        ([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "plain", Rules(), "is a file"),
        ([tmp_path / "none.jpg"], tmp_path / "out", Rules(), "no such file"),
        ([], tmp_path / "out", Rules(), "no input"),
    ]
    for inputs, output, rules, sentence in refusals:
        with pytest.raises(PlanError, match=sentence):
            plan(inputs, output, rules)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.jpg", ["a.jpg", "x/a.JPG"], ["a.png"]),
        ("x/*", ["x/a.jpg"], ["x/y/a.jpg", "a.jpg"]),
        ("x/**", ["x/a.jpg", "x/y/a.jpg"], ["xx/a.jpg"]),
        ("x/", ["x/a.jpg", "x/y/a.jpg"], ["x"]),
        ("**/y/*.png", ["y/a.png", "x/y/a.png"], ["x/y/z/a.png"]),
        ("img?[0-3].png", ["img_2.png"], ["img_4.png", "img2.png"]),
        ("[!a]b.png", ["xb.png"], ["ab.png"]),
        ("a+(b).png", ["a+(b).png"], ["aab.png"]),
        ("[]^].png", ["^.png", "].png"], ["a.png"]),
        ("[z-a&&--|~b].png", ["b.png", "&.png"], ["c.png"]),
        ("[", ["["], ["a"]),
    ],
)
def test_patterns(pattern, matching, other):
    match = matcher([pattern])
    assert [name for name in matching + other if match(name)] == matching


def test_include_and_exclude(tmp_path):
    tree(tmp_path / "in", "a.jpg", "a.png", "raw/b.jpg", "raw/deep/c.jpg", "keep/d.jpg")
    rules = Rules(include=("*.jpg",), exclude=("raw",))
    made = plan([tmp_path / "in"], tmp_path / "out", rules)
    assert [item.relative for item in made.items] == ["a.jpg", "keep/d.jpg"]


def test_nothing_matched_has_a_reason(tmp_path):
    tree(tmp_path / "in", "a.txt")
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert made.items == () and "no image" in made.reason and "1 .txt" in made.reason
    assert (
        "1 folder"
        in plan(
            [tree(tmp_path / "up", "sub/a.jpg").parent / "up"], tmp_path / "out", Rules(recursive=False)
        ).reason
    )
    tree(tmp_path / "in", "a.jpg")
    assert "`include`" in plan([tmp_path / "in"], tmp_path / "out", Rules(include=("*.png",))).reason
    assert plan([tmp_path / "in"], tmp_path / "out").reason is None


def test_unreadable_folders_are_told(tmp_path, monkeypatch):
    tree(tmp_path / "in", "a.jpg", "secret/b.jpg")
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert [item.relative for item in made.items] == ["a.jpg"]
    assert [(u.source.name, "denied" in u.reason) for u in made.unreadable] == [("secret", True)]
    assert plan([tmp_path / "in"], tmp_path / "out", Rules(exclude=("secret",))).unreadable == ()


def test_pipes_are_passed_over_and_told_when_named(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert [item.relative for item in made.items] == ["a.jpg"] and made.unreadable == ()
    for output in (tmp_path / "out", tmp_path / "out.png"):
        named = plan([tmp_path / "in" / "pipe.jpg"], output)
        assert named.items == () and "pipe" in named.unreadable[0].reason and named.reason is None


def test_names_that_are_not_text(tmp_path):
    names = [
        os.fsdecode(b"caf\xe9.jpg"),
        "naïve 日本.png",
        "tab\tnew\nline.jpg",
        "x" * 251 + ".png",
        "-rf.jpg",
    ]
    tree(tmp_path / "in", *names)
    made = plan([tmp_path / "in"], tmp_path / "out")
    assert {item.output.name for item in made.items} == set(names)


def test_shards_partition_the_files(tmp_path):
    names = [f"{i // 9}/{i}.jpg" for i in range(200)]
    tree(tmp_path / "in", *names)
    parts = [plan([tmp_path / "in"], tmp_path / "out", Rules(shard=Shard(i, 4))) for i in (1, 2, 3, 4)]
    done = [item.relative for part in parts for item in part.items]
    assert sorted(done) == sorted(names)
    assert all(20 < len(part.items) < 80 and part.total == 200 for part in parts)
    assert all(part.is_free(tmp_path / "out/new.png") for part in parts)
    assert not any(part.is_free(tmp_path / "out/0/1.jpg") for part in parts)
    moved = plan([tmp_path / "in"], tmp_path / "other", Rules(shard=Shard(2, 4)))
    assert [i.relative for i in moved.items] == [i.relative for i in parts[1].items]


def test_an_empty_shard_is_not_an_empty_plan(tmp_path):
    tree(tmp_path / "in", "a.jpg")
    parts = [plan([tmp_path / "in"], tmp_path / "out", Rules(shard=Shard(i, 2))) for i in (1, 2)]
    assert sorted(len(part.items) for part in parts) == [0, 1]
    assert all(part.reason is None for part in parts)


def test_shard_text():
    assert Shard.parse("2/8") == Shard(2, 8) and str(Shard(2, 8)) == "2/8"
    for text in ("0/4", "5/4", "1", "1/0", "a/b", "-1/4", ""):
        with pytest.raises(UsageError):
            Shard.parse(text)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "4"}, Shard(1, 4)),
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, Shard(4, 4)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Shard(2, 2)),
        (
            {"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7",
             "SLURM_STEP_ID": "0"},
            Shard(2, 2),
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}, None),
    ],
)  # fmt: skip
def test_shard_from_environment(environ, expected):
    assert shard_from_environment(environ) == expected


def test_shard_from_a_broken_environment():
    with pytest.raises(UsageError, match="RANK"):
        shard_from_environment({"RANK": "one", "WORLD_SIZE": "2"})
