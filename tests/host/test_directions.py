"""Sentences and edit directions in real ComfyUI, on the demo model's text encoder and on random conditionings."""

import pytest
import torch


@pytest.fixture
def clip(pack):
    return pack.run("EditFriendlyLoadDemoModel")[1]


@pytest.fixture
def direction(pack):
    """direction(source, target, conditioning, strength=1.0): what EditDirection gives, for lists of CONDITIONING."""

    def run(source, target, conditioning, strength: float = 1.0):
        return pack.run(
            "EditFriendlyEditDirection", conditioning=[conditioning], source=source, target=target, strength=[strength]
        )

    return run


def test_each_line_is_encoded_as_the_host_encodes_it(comfy, pack, clip):
    lines = ["a red house by the sea", "two green pears"]
    (found,) = pack.run("EditFriendlyEncodeSentences", clip=clip, text=f"\n{lines[0]}\n\n   \n  {lines[1]}  \n")
    assert len(found) == 2
    for line, conditioning in zip(lines, found, strict=True):
        (expected,) = comfy.nodes.NODE_CLASS_MAPPINGS["CLIPTextEncode"]().encode(clip, line)
        assert torch.equal(conditioning[0][0], expected[0][0])


@pytest.mark.parametrize("text", ["", " \n\n  "])
def test_a_text_without_a_sentence_is_refused(pack, clip, text):
    with pytest.raises(ValueError, match="has no sentence: write at least one"):
        pack.run("EditFriendlyEncodeSentences", clip=clip, text=text)


def test_many_sentences_show_progress_and_can_be_interrupted(comfy, pack, clip, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))
    pack.run("EditFriendlyEncodeSentences", clip=clip, text="a house by day\n" * 30)
    assert (seen[0], seen[-1]) == ((1, 30), (30, 30))
    seen.clear()

    def stop(value, *_, **__):
        seen.append(value)
        comfy.model_management.interrupt_current_processing(True)

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        pack.run("EditFriendlyEncodeSentences", clip=clip, text="a house by day\n" * 30)
    assert seen == [1]


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_the_direction_is_the_difference_of_the_means(conditioning, direction, kind):
    source, target = [conditioning(kind, k) for k in (1, 2)], [conditioning(kind, k) for k in (3, 4, 5)]
    prompt = conditioning(kind, 6)
    moved, alone = direction(source, target, prompt, strength=0.5)

    def mean(sentences, read):
        return torch.stack([read(sentence[0]) for sentence in sentences]).mean(dim=0)

    reads = [lambda entry: entry[0]]
    if kind == "sdxl":
        reads.append(lambda entry: entry[1]["pooled_output"])
    for read in reads:
        expected = mean(target, read) - mean(source, read)
        assert torch.allclose(read(alone[0]), expected, atol=1e-6)
        assert torch.allclose(read(moved[0]), read(prompt[0]) + 0.5 * expected, atol=1e-6)
        assert read(moved[0]).dtype == torch.float32
    if kind == "sd15":
        assert alone[0][1]["pooled_output"] is moved[0][1]["pooled_output"] is None


def test_from_a_sentence_to_itself_is_no_way(conditioning, direction):
    prompt = [[*conditioning("sdxl", 6)[0]], [conditioning("sdxl", 7)[0][0], {"strength": 0.3}]]
    moved, alone = direction([conditioning("sdxl", 1)] * 3, [conditioning("sdxl", 1)], prompt)
    assert alone[0][0].abs().max() == 0
    assert all(torch.equal(a[0], b[0]) for a, b in zip(moved, prompt, strict=True))
    assert moved[1][1] == {"strength": 0.3}


def test_entries_of_one_conditioning_are_sentences_too(conditioning, direction):
    """As Conditioning (Combine) puts them together."""
    sentences = [conditioning("sdxl", k) for k in (1, 2, 3)]
    prompt, target = conditioning("sdxl", 6), [conditioning("sdxl", 4)]
    as_list, _ = direction(sentences, target, prompt)
    as_one, _ = direction([[entry for sentence in sentences for entry in sentence]], target, prompt)
    assert torch.equal(as_list[0][0], as_one[0][0])
    assert torch.equal(as_list[0][1]["pooled_output"], as_one[0][1]["pooled_output"])


def test_longer_sentences_are_repeated_with_the_rest(conditioning, direction):
    (short,), (long,) = conditioning("sd15", 1), conditioning("sd15", 2)
    doubled = torch.cat([long[0], short[0]], dim=1)
    moved, alone = direction([[short]], [[[doubled, {}]]], conditioning("sd15", 3))
    assert moved[0][0].shape == alone[0][0].shape == (1, 154, 768)
    assert torch.allclose(alone[0][0], doubled - short[0].repeat(1, 2, 1), atol=1e-6)


def test_what_does_not_go_together_is_refused(conditioning, direction, pack):
    sd15, sdxl = conditioning("sd15", 1), conditioning("sdxl", 1)
    with pytest.raises(ValueError, match="are 768 and 2048 wide.*one CLIP"):
        direction([sd15], [sdxl], sd15)
    with pytest.raises(ValueError, match="are 768 and 2048 wide"):
        direction([sd15], [sd15], sdxl)
    without = [[sdxl[0][0], {}]]
    with pytest.raises(ValueError, match="some of the sentences have a pooled vector and some have none"):
        direction([sdxl], [without], sdxl)
    with pytest.raises(ValueError, match="conditioning is a list of 2, it has to be one"):
        pack.run("EditFriendlyEditDirection", conditioning=[sd15, sd15], source=[sd15], target=[sd15], strength=[1.0])
    for source in ([], [[]]):
        with pytest.raises(ValueError, match="no embedding to take the mean of"):
            direction(source, [sd15], sd15)


def test_a_direction_of_the_demo_models_sentences_leads_from_one_color_to_the_other(pack, clip):
    """One sentence on each side: added to its source it is its target."""
    texts = [f"a {color} house by the sea" for color in ("red", "green")]
    source, target = (pack.run("EditFriendlyEncodeSentences", clip=clip, text=text)[0] for text in texts)
    moved, _ = pack.run("EditFriendlyEditDirection", conditioning=source, source=source, target=target, strength=[1.0])
    torch.testing.assert_close(moved[0][0], target[0][0][0], atol=1e-5, rtol=1e-5)
