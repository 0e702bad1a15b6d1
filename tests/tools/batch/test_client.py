"""What the client makes of odd answers, and of passwords and tokens."""

import copy
import traceback

import pytest

from support.stand_in import GRAPH, HTML, PNG, RUN, SAVED, SOUND, Answer
from tools.batch import client as client_module
from tools.batch.client import ComfyClient, GraphError, ServerGone, describe_failure, images_of

SECRET = "pass!word"
ODD = [None, 1, "", "text", [], {}, [None], {"6": None}]


def places_in(answer) -> list[tuple]:
    """The path to each part of a JSON, the whole first."""
    if isinstance(answer, dict):
        entries = list(answer.items())
    else:
        entries = list(enumerate(answer)) if isinstance(answer, list) else []
    return [(), *((key, *rest) for key, value in entries for rest in places_in(value))]


def replaced(answer, place: tuple, odd):
    """A JSON with one part in place of another."""
    if not place:
        return odd
    changed = copy.deepcopy(answer)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = odd
    return changed


def use_all(client: ComfyClient) -> bytes:
    """Everything that an edit asks of a server."""
    client.version()
    client.upload(PNG, "a.png", "edit_folder")
    outputs = client.run(GRAPH)
    return client.view(images_of(outputs, GRAPH, "6")[0])


def told(error: BaseException) -> str:
    """All that a traceback shows."""
    return "".join(traceback.format_exception(error))


REFUSED = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed", "details": ""},
    "node_errors": {
        "1": {
            "errors": [
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": "image: 'none.png' not in []",
                    "extra_info": {"input_name": "image"},
                }
            ]
        }
    },
}
FAILED = {
    RUN: {
        "prompt": [0, RUN, GRAPH],
        "status": {
            "status_str": "error",
            "messages": [
                ["execution_start", {}],
                [
                    "execution_error",
                    {"node_id": "4", "exception_type": "torch.OutOfMemoryError", "exception_message": "None left"},
                ],
            ],
        },
    }
}
QUEUED = {"queue_running": [[0, RUN]], "queue_pending": [[1, "another"]]}


@pytest.mark.parametrize(
    ("asked", "sound", "others"),
    [
        *((asked, SOUND[asked], {}) for asked in ("GET /system_stats", "POST /upload/image", "POST /prompt")),
        ("POST /prompt", Answer(REFUSED, 400), {}),
        ("GET /object_info/LoadImage", SOUND["GET /object_info/LoadImage"], {"POST /prompt": Answer(REFUSED, 400)}),
        (f"GET /history/{RUN}", SOUND[f"GET /history/{RUN}"], {}),
        (f"GET /history/{RUN}", Answer(FAILED), {}),
        ("GET /queue", Answer(QUEUED), {f"GET /history/{RUN}": Answer({})}),
    ],
)
def test_no_part_of_an_answer_can_be_so_odd_that_another_error_comes_out(stand_in, monkeypatch, asked, sound, others):
    """Each part of an answer in turn is replaced by each of a list of other JSONs."""
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)
    client = ComfyClient(stand_in.url, timeout=0.001)
    stand_in.always |= others
    errors = 0
    for place in places_in(sound.content):
        for odd in ODD:
            stand_in.always[asked] = sound._replace(content=replaced(sound.content, place, odd))
            try:
                assert use_all(client) == PNG
            except GraphError as error:
                errors += 1
                assert str(error) and "\n" not in str(error)
    assert errors >= len(ODD)


@pytest.mark.parametrize("asked", SOUND)
@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        Answer(b""),
        Answer(b"\xff\xfe\x00", kind="text/plain"),
        Answer(b"{", headers={"Content-Length": "100"}),
        Answer(b"{}", headers={"Content-Encoding": "gzip"}),
        Answer(b"no", 500, "text/plain"),
        Answer(b"", 404),
        Answer(b"", 413),
    ],
)
def test_a_web_page_half_an_answer_or_none_is_an_error_too(stand_in, asked, answer):
    stand_in.always[asked] = answer
    client = ComfyClient(stand_in.url, timeout=0.01)
    needed = asked not in ("GET /queue", "POST /queue", "POST /interrupt", "GET /object_info/LoadImage")
    if needed and not (asked == "GET /view" and answer.kind == "text/plain" and answer.status == 200):
        with pytest.raises(GraphError):
            use_all(client)
    else:
        assert use_all(client)


@pytest.mark.parametrize(
    ("asked", "answer", "message"),
    [
        ("GET /system_stats", HTML, "answered /system_stats with something else than JSON: is it a ComfyUI server"),
        ("GET /system_stats", Answer(b"", 401), "does not let this client in: 401 Unauthorized"),
        ("POST /prompt", Answer(b"", 502), "does not answer: 502 Bad Gateway"),
        ("GET /view", HTML, "answered /view with a web page"),
        (
            "GET /system_stats",
            Answer(b"", 302, headers={"Location": "/login?token=x"}),
            "to another page of its own, perhaps to log in",
        ),
        (
            "POST /upload/image",
            Answer(b"", 301, headers={"Location": "https://user:word@elsewhere:1/upload/image?token=x"}),
            "sends this client to https://elsewhere:1: if that is a ComfyUI server, name it instead",
        ),
    ],
)
def test_what_is_no_comfyui_is_told_from_a_run_that_fails(stand_in, asked, answer, message):
    stand_in.always[asked] = answer
    with pytest.raises(ServerGone) as gone:
        use_all(ComfyClient(stand_in.url))
    assert message in str(gone.value)


@pytest.mark.parametrize("status", [{"status": None}, {"status": {}}, {}])
def test_a_run_without_a_status_is_told(stand_in, status):
    outputs = {"6": {"images": [SAVED]}}
    stand_in.always[f"GET /history/{RUN}"] = Answer({RUN: {"outputs": outputs} | status})
    with pytest.raises(GraphError, match="does not say whether the run succeeded"):
        ComfyClient(stand_in.url).run(GRAPH)


@pytest.mark.parametrize(
    "outputs",
    [{}, {"6": {}}, {"6": None}, {"6": {"images": None}}, {"6": {"images": []}}, {"6": {"images": [{"type": "temp"}]}}],
)
def test_a_run_without_a_picture_is_told_by_its_node(outputs):
    with pytest.raises(GraphError, match=r"the run ended without a picture from 'Edited' \(SaveImage\)"):
        images_of(outputs, GRAPH, "6")


def test_a_refusal_of_a_node_that_the_graph_does_not_have_is_told(stand_in):
    """Such as one that the server has put in the place of another."""
    errors = {"88": {"errors": [{"message": "Bad linked input", "details": "images"}]}}
    stand_in.always["POST /prompt"] = Answer({"error": None, "node_errors": errors}, 400)
    with pytest.raises(GraphError, match=r"refused the graph: 'node 88': Bad linked input \(images\)"):
        ComfyClient(stand_in.url).run(GRAPH)


def test_a_value_that_the_server_does_not_have_is_told_with_those_it_has(stand_in):
    stand_in.always["POST /prompt"] = Answer(REFUSED, 400)
    with pytest.raises(GraphError, match=r"input image: 'none.png' is not on the server, it has: other.png"):
        ComfyClient(stand_in.url).run(GRAPH)


def test_a_server_out_of_memory_is_told_by_its_node():
    graph = {"7": {"class_type": "EditFriendlyInvert", "inputs": {}, "_meta": {"title": "Invert"}}}
    message = {
        "node_id": "7",
        "exception_type": "torch.OutOfMemoryError",
        "exception_message": "Allocation failed\n\nTIPS: less\n",
    }
    entry = {
        "prompt": [0, "id", graph],
        "status": {"messages": [["execution_start", {}], ["execution_error", message]]},
    }
    assert describe_failure(entry) == "'Invert' (EditFriendlyInvert): OutOfMemoryError: Allocation failed TIPS: less"


@pytest.mark.parametrize(
    ("user", "headers", "expected"),
    [
        (f"me:{SECRET}@", {}, "Basic bWU6cGFzcyF3b3Jk"),
        ("me%40home:p%2Fq@", {}, "Basic bWVAaG9tZTpwL3E="),
        ("", {"authorization": f"Bearer {SECRET}"}, f"Bearer {SECRET}"),
    ],
)
def test_every_request_has_the_password_or_the_token(stand_in, user, headers, expected):
    client = ComfyClient(stand_in.url.replace("//", f"//{user}"), headers=headers | {"X-Team": "two"})
    assert use_all(client) == PNG
    client.cancel(RUN)
    assert {asked for asked, _ in stand_in.heard} == set(SOUND) - {"GET /queue", "GET /object_info/LoadImage"}
    for _, sent in stand_in.heard:
        lower = {name.lower(): value for name, value in sent.items()}
        assert (lower["authorization"], lower["x-team"]) == (expected, "two")


def test_the_token_is_not_replaced_by_one_of_the_netrc_file(stand_in, tmp_path, monkeypatch):
    """As requests would. The stand-in serves as the proxy of another host, for it has but one address of its own."""
    (tmp_path / "netrc").write_text("machine comfy.example login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, stand_in.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ComfyClient("http://comfy.example", headers={"Authorization": "Bearer token"}).version()
    ComfyClient("http://comfy.example").version()
    assert [sent["Authorization"] for _, sent in stand_in.heard] == ["Bearer token", "Basic c29tZW9uZTplbHNl"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_server_on_this_machine_is_not_looked_for_behind_a_proxy(stand_in, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ComfyClient(stand_in.url).is_up()


@pytest.mark.parametrize("how", ["password", "token"])
@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        Answer(b"", 401),
        Answer(b"", 404),
        Answer(b"", 503),
        Answer(b"{", headers={"Content-Length": "100"}),
        Answer(b"", 302, headers={"Location": f"http://me:{SECRET}@elsewhere/?token={SECRET}"}),
        Answer(b"", 302, headers={"Location": f"http://[{SECRET}"}),
        None,
    ],
)
def test_no_error_shows_the_password_or_the_token(stand_in, how, answer):
    """Not its message, and not the traceback with the errors behind it."""
    url = stand_in.url if answer else "http://127.0.0.1:9"
    for asked in ("GET /system_stats", "POST /prompt"):
        if answer:
            stand_in.always = {asked: answer}
        if how == "password":
            client = ComfyClient(url.replace("//", f"//me:{SECRET}@"))
        else:
            client = ComfyClient(url, headers={"Authorization": f"Bearer {SECRET}"})
        with pytest.raises(GraphError) as failed:
            use_all(client)
        assert SECRET not in told(failed.value)
        assert SECRET not in client.url


def test_no_error_shows_the_password_of_a_proxy(monkeypatch):
    """Which errors of requests do, where the environment names none that can be meant."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:99999")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServerGone, match="the server http://comfy.example does not answer") as gone:
        ComfyClient("http://comfy.example").version()
    assert SECRET not in told(gone.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}/x@127.0.0.1:8188",
        f"http://me:1/{SECRET}@127.0.0.1:8188",
        f"http://me:{SECRET}#x@127.0.0.1:8188",
        f"http://me:1?{SECRET}@127.0.0.1:8188",
        f"http://127.0.0.1:8188/?token={SECRET}",
        f"http://me:{SECRET}@127.0.0.1:port",
        f"http://me:{SECRET}@127.0.0.1:99999",
        f"http://me:{SECRET}@[::1",
        f"http://me:{SECRET}@",
        f"ftp://me:{SECRET}@127.0.0.1",
        SECRET,
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="the address of the server needs the form") as refused:
        ComfyClient(url)
    assert SECRET not in told(refused.value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({f"{SECRET} {SECRET}": "x"}, "a header needs the form 'Name: value'"),
        ({"": SECRET}, "a header needs the form 'Name: value'"),
        ({"X-Token": f"{SECRET}\r\nX-More: 1"}, "the value of the header X-Token is not of one line"),
        ({"X-Token": f"{SECRET}\u2013"}, "the value of the header X-Token is not of one line"),
        ({"X-Token": " "}, "the value of the header X-Token is empty"),
        ({"content-type": SECRET}, "the header content-type differs from request to request"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(headers, message):
    with pytest.raises(ValueError, match=message) as refused:
        ComfyClient("http://127.0.0.1:9", headers=headers)
    assert SECRET not in told(refused.value)


def test_a_password_and_a_token_are_one_too_many():
    with pytest.raises(ValueError, match="leave one out"):
        ComfyClient(f"http://me:{SECRET}@127.0.0.1:9", headers={"authorization": "Bearer x"})


def test_a_proxy_may_fail_for_a_moment_while_a_run_goes_on(stand_in):
    stand_in.once = {f"GET /history/{RUN}": Answer(b"", 503)}
    assert ComfyClient(stand_in.url).result(RUN)["6"]["images"]
    stand_in.always = {f"GET /history/{RUN}": Answer(b"", 503)}
    with pytest.raises(ServerGone, match="503"):
        ComfyClient(stand_in.url).result(RUN)
