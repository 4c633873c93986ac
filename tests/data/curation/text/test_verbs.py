"""Verb rewriting: other words, the same meaning."""

from collections import Counter

import numpy as np
import pytest

from icve.data.curation.text.grammar import QUOTED, words
from icve.data.curation.text.instruction_filter import FilterConfig, check_instruction
from icve.data.curation.text.same_meaning import accepts_rewrite, content
from icve.data.curation.text.verb_table import Template, table, understand
from icve.data.curation.text.verbs import RewriteConfig, VerbRewriter, meanings
from icve.data.pairs.base import TYPES
from icve.data.world import COLOURS, PLACES, SHAPES
from tests.data.curation.text.instruction_texts import kept, labelled, of_the_world

ALL = VerbRewriter(RewriteConfig(share=1, courtesy=0))
LOOSE = FilterConfig(trivial=False)
# What a world's instruction is about, whatever its verb.
NAMES = {*COLOURS, *SHAPES, *" ".join(PLACES).split(), "large", "small", "big", "little", "up", "half", "halfway"}
NAMES |= {"stripes", "dots", "checks", "squares", "gradient", "photo", "sepia", "upwards"}
NAMES -= {"the", "on", "at", "in"}


def every_way(text: str, edit_type: str, tries: int = 60) -> set[str]:
    return {ALL.rewrite(text, edit_type, np.random.default_rng(seed)) for seed in range(tries)}


def names(text: str) -> Counter[str]:
    return Counter(word for word in words(text) if word in NAMES)


def test_world_instructions_keep_their_names_and_pass_the_filter_with_their_type():
    said: Counter[tuple[str, bool]] = Counter()
    for number, (edit, edit_type, text) in enumerate(of_the_world(150)):
        new = ALL.rewrite(text, edit_type, np.random.default_rng(number))
        said[edit.operation, new != text] += 1
        assert names(new) == names(text), (text, new)
        assert check_instruction(new, edit_type, LOOSE) is None, (text, new)
        assert new[0].isupper() == text[0].isupper() or new.startswith("I ")
        assert new.endswith(".") == text.endswith(".")
    # "look" has many a wording without another ("blur the video"), "camera" the form "move the camera: pan left".
    least = {"look": 0.4, "camera": 0.8}
    for operation in {operation for operation, _ in said}:
        share = said[operation, True] / (said[operation, True] + said[operation, False])
        assert share >= least.get(operation, 0.99), (operation, share)


def test_models_instructions_keep_what_they_are_about_and_pass_the_filter_with_their_type():
    changed = 0
    for edit_type, text in kept():
        for seed in range(8):
            new = ALL.rewrite(text, edit_type, np.random.default_rng(seed))
            changed += new != text
            assert check_instruction(new, edit_type) is None, (text, new)
            assert sorted(QUOTED.findall(new)) == sorted(QUOTED.findall(text))
            assert Counter(content(text)) <= Counter(content(new)), (text, new)
            assert len(content(new) - content(text)) <= 1, (text, new)
    assert changed / 8 > 0.5 * len(kept())


def test_what_is_no_edit_is_none_in_other_words():
    for verdict, edit_type, text in labelled():
        if verdict in ("no change", "trivial", "about clips", "not imperative", "unfinished"):
            for seed in range(4):
                new = ALL.rewrite(text, edit_type, np.random.default_rng(seed))
                assert check_instruction(new, edit_type) is not None, (text, new)


@pytest.mark.parametrize(
    ("edit_type", "text", "among", "never"),
    [
        (
            "replace",
            "Replace the cat with a dog.",
            {
                "Swap the cat for a dog.",
                "Turn the cat into a dog.",
                "Substitute a dog for the cat.",
                "Change the cat into a dog.",
            },
            {"Substitute the cat for a dog."},
        ),
        ("replace", "substitute a dog for the cat", {"replace the cat with a dog"}, {"replace a dog with the cat"}),
        (
            "remove",
            "Delete the hat.",
            {"Take the hat away.", "Get rid of the hat.", "Erase the hat."},
            {"Take away it."},
        ),
        (
            "attribute",
            "Make the car orange.",
            {"Change the color of the car to orange.", "Turn the car orange.", "Give the car an orange color."},
            {"Give the car a orange color."},
        ),
        (
            "attribute",
            "Change the colour of the car to red",
            {"Give the car a red colour"},
            {"Give the car a red color"},
        ),
        ("camera", "Zoom out", {"Pull back", "Have the camera zoom out"}, {"Push in", "Zoom in"}),
        ("camera", "pan to the right", {"turn the camera to the right", "have the camera pan to the right"}, set()),
        ("camera", "Slowly zoom in.", {"Slowly push in.", "Have the camera zoom in slowly."}, {"Push in."}),
        ("camera", "Tilt up slightly.", {"Slightly tilt the camera up.", "Have the camera tilt up slightly."}, set()),
        ("camera", "Rotate the camera clockwise by 10 degrees.", {"Roll the camera clockwise by 10 degrees."}, set()),
        (
            "background",
            "Change the background from a beach to a forest.",
            {"Switch the background from a beach to a forest."},
            {"Switch the background from a forest to a beach."},
        ),
        ("style", "Make it in the style of Monet.", {"Render it in the style of Monet."}, set()),
        ("style", "Make the video black and white.", {"Convert the video to black and white."}, set()),
        ("action", "Make the man wave.", {"Have the man wave.", "Get the man to wave.", "The man should wave."}, set()),
        ("add", "Add a dog on the sofa.", {"Put a dog on the sofa.", "Have a dog appear on the sofa."}, set()),
        (
            "add",
            "Add a dog to the background.",
            {"Insert a dog into the background."},
            {"Put a dog to the background."},
        ),
    ],
)
def test_wordings(edit_type, text, among, never):
    ways = every_way(text, edit_type, 200)
    assert among <= ways
    assert not never & ways
    assert text not in ways


def test_two_clauses_are_both_reworded():
    ways = every_way("Zoom out and pan to the right.", "camera", 200)
    assert "Pull back and turn the camera to the right." in ways
    assert all(" and " in way and way.endswith(" to the right.") and way[0].isupper() for way in ways)
    ways = every_way("Remove the cat, then change the background to a beach.", "remove")
    assert "Erase the cat, then replace the background with a beach." in ways


def test_a_sentence_that_begins_with_its_thing_gives_its_capital_back():
    ways = every_way("The car should be red.", "attribute")
    assert {"Make the car red.", "I want the car to be red."} <= ways
    assert not any(" The " in way for way in ways)


def test_two_sentences_are_both_reworded():
    ways = every_way("Zoom out. Pan to the right.", "camera")
    assert all(way.count(".") == 2 and way.split(". ")[1][0].isupper() for way in ways)
    assert len(ways) > 10


@pytest.mark.parametrize(
    ("edit_type", "text"),
    [
        ("replace", "Replace the man with the red hat with a dog with a bone."),  # which "with"?
        ("action", "Make the kayakers paddle harder to the left, then let go."),
        ("replace", "Swap the red ball with the blue ball."),  # they may change places
        ("attribute", "Make the woman's hair shorter."),
        ("action", "Tilt the man's head to the left."),  # no camera
        ("add", "Add a scarf to the snowman in the yard."),  # not "put a scarf to"
        ("style", "ZOOM OUT"),
        ("style", "Posterize the picture."),
    ],
)
def test_what_is_not_sure_stays(edit_type, text):
    for way in every_way(text, edit_type):
        assert way == text or (edit_type == "action" and way.split()[1:] == text.split()[1:])


def test_quotes_are_one_word_whatever_they_say():
    text = "Replace the sign that says \"change the cat to a dog with a hat\" with a sign that says 'out'."
    for way in every_way(text, "replace"):
        assert '"change the cat to a dog with a hat"' in way
        assert "'out'" in way
    assert len(every_way(text, "replace")) > 5


def test_the_same_generator_gives_the_same_words_and_the_share_is_kept():
    rewriter = VerbRewriter(RewriteConfig(share=0.5, courtesy=0.3))
    first = [rewriter.rewrite("Remove the cat.", "remove", np.random.default_rng(seed)) for seed in range(400)]
    again = [rewriter.rewrite("Remove the cat.", "remove", np.random.default_rng(seed)) for seed in range(400)]
    assert first == again
    assert 160 < sum(text == "Remove the cat." for text in first) < 240
    assert 20 < sum("lease" in text or "scene" in text for text in first) < 110
    none = VerbRewriter(RewriteConfig(share=0))
    assert none.rewrite("Remove the cat.", "remove", np.random.default_rng(0)) == "Remove the cat."


SAMPLES = {
    "text": "the old clock",
    "whole": "a pale blue wall",
    "np": "a tall vase",
    "indefinite": "a tall vase",
    "plain": "the old clock",
    "person": "the tall woman",
    "surface": "the table",
    "look": "a soft filter",
    "hued": "a blue wall",
    "bare": "a tall vase",
    "barely": "a tall vase",
    "placed": "a tall vase on the table by the door",
    "put": "a tall vase on the table by the door",
    "place": "on the table",
    "doer": "the old man",
    "act": "wave at the camera",
    "acting": "the young guide light the fire",
    "color": "dark blue",
    "way": "to the left",
    "height": "up",
    "turn": "clockwise",
    "scene": "the whole video",
    "background": "the background",
    "setting": "the season",
    "surroundings": "the background",
    "tone": "sepia",
}


def filled(template: Template) -> tuple[str, dict[str, str]]:
    slots = {name: SAMPLES[kind] for name, kind in template.kinds}
    if "was" in slots:
        slots["was"] = {"the old clock": "a closed door", "dark blue": "green"}[slots["was"]]
    if "where" in slots and "new" in slots:
        slots["new"] = "a tall vase"
    if slots.get("old") == slots.get("new", ""):
        slots["old"] = "the round lamp"
    text = template.write(slots, british=False)
    assert text is not None
    return text, slots


@pytest.mark.parametrize("family", table(), ids=lambda family: family.name)
def test_the_table_reads_what_it_says_and_what_it_writes_passes_the_filter(family):
    for edit_type in family.types or [name for name in TYPES if name != "none"]:
        reads = [filled(template) for template in family.reads]
        for text, slots in reads:
            meaning = understand(text, edit_type)
            assert meaning is not None, text
            assert meaning.family.name == family.name, text
            assert meaning.slots == slots, text
        if all(check_instruction(text, edit_type) is None for text, _ in reads):
            for template in (*family.writes, *family.alone):
                text, _ = filled(template)
                assert check_instruction(text, edit_type) is None, (text, edit_type)


@pytest.mark.parametrize(
    ("edit_type", "before", "after", "accepted"),
    [
        ("replace", "Replace the cat with a dog.", "Swap the cat for a dog.", True),
        ("replace", "Replace the cat with a dog.", "Swap the dog for a cat.", False),
        ("replace", "Replace the cat with a dog.", "Replace the cat with a wolf.", False),
        ("replace", "Replace the cat with a dog.", "The cat is now a dog.", False),
        ("replace", "Replace the cat with a dog.", "Replace the cat with a dog in the second video.", False),
        ("camera", "Zoom out and pan to the right.", "Pull back and swing the camera to the right.", True),
        ("camera", "Zoom out and pan to the right.", "Zoom in and pan to the right.", False),
        ("camera", "Zoom out and pan to the right.", "Pull back and swing the camera to the left.", False),
        ("camera", "Zoom out and pan to the right.", "Pull back.", False),
        ("attribute", "Make the car red.", "Paint the car red.", True),
        ("attribute", "Make the car red.", "Paint the car blue.", False),
        ("attribute", "Lengthen the sleeves of the sweater.", "Make the sleeves of the sweater longer.", True),
        ("attribute", "Lengthen the sleeves of the sweater.", "Make the sleeves of the coat longer.", False),
        ("action", "Make the man raise his left arm.", "Have the man lift his left arm up.", False),
        ("action", "Make the man raise his left arm.", "Get the man to raise his left arm.", True),
        ("action", "Make the man raise his left arm.", "Get the man to raise his right arm.", False),
        ("action", "Make the man wave at 3 dogs.", "Have the man wave at 2 dogs.", False),
        ("action", "Make the man wave.", "Do not let the man wave.", False),
        ("action", "Make the man wave.", "Could the man wave?", False),
        ("action", "Make the man wave.", "Have the man wave happily at his neighbour across the busy street.", False),
        ("attribute", "Change the text to 'OPEN'.", "Make the text read 'CLOSED'.", False),
        ("remove", "Remove the red hat.", "Get the red hat out of sight.", True),
        ("remove", "Remove the red hat.", "Add a red hat.", False),
        ("remove", "Remove the red hat.", "", False),
    ],
)
def test_a_models_rewrite_is_taken_only_where_it_says_the_same(edit_type, before, after, accepted):
    assert accepts_rewrite(before, after, edit_type) is accepted


def test_the_tables_own_words_are_accepted():
    for _, edit_type, text in of_the_world(30):
        new = ALL.rewrite(text, edit_type, np.random.default_rng(1))
        assert accepts_rewrite(text, new, edit_type, LOOSE), (text, new)


def test_meanings_name_the_slots_in_their_roles():
    for text in ("Replace the cat with a dog.", "Substitute a dog for the cat.", "Put a dog in place of the cat"):
        ((_, meaning, _),) = meanings(text, "replace")
        assert meaning is not None
        assert meaning.slots == {"old": "the cat", "new": "a dog"}
