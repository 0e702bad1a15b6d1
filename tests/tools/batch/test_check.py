"""`python -m tools.batch check` where no ComfyUI is needed: a token on its way."""

from support.stand_in import Answer
from tools.batch.__main__ import main

SECRET = "pass!word"


def test_a_token_goes_to_the_server_and_nowhere_else(stand_in, tmp_path, capfd):
    """With what is asked while a run goes on, too; the stand-in has no result, so nothing is edited."""
    stand_in.always["POST /free"] = Answer(b"")
    (tmp_path / "headers.txt").write_text(f"Authorization: Bearer {SECRET}\n")
    out = tmp_path / "check.html"
    told = ["--server", stand_in.url, "--header", f"@{tmp_path / 'headers.txt'}"]
    assert main(["check", *told, "--no-presets", "--out", str(out)]) == 1
    assert {sent.get("Authorization") for _, sent in stand_in.heard} == {f"Bearer {SECRET}"}
    assert {"POST /upload/image", "POST /free", "POST /prompt"} <= {asked for asked, _ in stand_in.heard}
    said = capfd.readouterr()
    assert "without a picture from 'Edited'" in said.out
    assert not any(SECRET in text for text in (said.out, said.err, out.read_text()))
