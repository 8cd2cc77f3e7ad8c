"""Letta's official Python client against a running Kelpie: `python python-client.py URL`.

Each case is a function; what it returns is shown beside its name. A case whose method the installed release does not
have is shown as absent.
"""

import asyncio
import sys
import time
import traceback
import warnings

import httpx
import letta_client
from letta_client import (
    APIError,
    APIStatusError,
    AsyncLetta,
    BadRequestError,
    ConflictError,
    Letta,
    NotFoundError,
    UnprocessableEntityError,
)

# Most methods of letta-client 1.12.1 are marked as deprecated, without another to use.
warnings.simplefilter("ignore", DeprecationWarning)

url = sys.argv[1]
sent = []
letta = Letta(base_url=url, http_client=httpx.Client(event_hooks={"request": [lambda request: sent.append(request.url.path)]}))
cases = []


def case(function):
    cases.append(function)
    return function


def equal(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


def new_agent(**fields):
    fields = {"memory_blocks": [{"label": "human", "value": "Nothing is known yet."}, {"label": "persona", "value": "I am kind."}], **fields}
    return letta.agents.create(model="kelpie/demo", **fields)


@case
def health():
    return letta.health().status


@case
def agents():
    agent = new_agent(name="py", tags=["python", "compat"], description="made by the Python client", metadata={"n": 1})
    equal([block.label for block in agent.blocks], ["human", "persona"])
    found = letta.agents.retrieve(agent.id, include=["agent.blocks", "agent.tags", "agent.tools"])
    equal(sorted(found.tags), ["compat", "python"])
    equal(letta.agents.update(agent.id, name="py2").name, "py2")
    equal([each.id for each in letta.agents.list(name="py2")], [agent.id])
    letta.agents.delete(agent.id)
    try:
        letta.agents.retrieve(agent.id)
        raise AssertionError("A deleted agent is still there")
    except NotFoundError as error:
        equal(error.status_code, 404)


@case
def lists_of_agents_both_ways():
    made = [new_agent(name=f"page-{index}", tags=["page"], include_base_tools=False).id for index in range(5)]
    ascending = [agent.id for agent in letta.agents.list(tags=["page"], limit=2, order="asc")]
    descending = [agent.id for agent in letta.agents.list(tags=["page"], limit=2, order="desc")]
    equal(ascending, made)
    equal(descending, made[::-1])
    for id in made:
        letta.agents.delete(id)


@case
def message():
    agent = new_agent()
    answer = letta.agents.messages.create(agent.id, messages=[{"role": "user", "content": "Remember that my name is Ada"}])
    kinds = [each.message_type for each in answer.messages]
    assert "tool_call_message" in kinds and "tool_return_message" in kinds and kinds[-1] == "assistant_message", kinds
    equal(answer.stop_reason.stop_reason, "end_turn")
    assert answer.usage.step_count == 2, answer.usage
    assert "Ada" in letta.agents.blocks.retrieve("human", agent_id=agent.id).value
    answer = letta.agents.messages.create(agent.id, input="What is my name?")
    assert "Ada" in answer.messages[-1].content
    return ", ".join(kinds)


@case
def stream():
    agent = new_agent()
    for options in [{"stream_tokens": True}, {"stream_tokens": False}, {"stream_tokens": True, "background": True, "include_pings": True}]:
        events = list(letta.agents.messages.stream(agent.id, input="Count to 20", **options))
        text = "".join(event.content for event in events if event.message_type == "assistant_message")
        assert "20" in text, text
        equal([event.message_type for event in events[-2:]], ["stop_reason", "usage_statistics"])
        pieces = sum(event.message_type == "assistant_message" for event in events)
        assert (pieces > 10) == options["stream_tokens"], pieces
        if "background" in options:
            run = next(event.run_id for event in events if event.message_type == "ping")
            again = list(letta.runs.messages.stream(run, starting_after=5))
            seen = [event.seq_id for event in events if event.message_type != "ping" and event.seq_id > 5]
            equal([event.seq_id for event in again if event.message_type != "ping"], seen)
    return f"{pieces} pieces"


@case
def messages_both_ways():
    agent = new_agent()
    for text in ["one", "two", "three"]:
        letta.agents.messages.create(agent.id, input=text)
    key = lambda each: (each.id, each.message_type)
    whole = [key(each) for each in letta.agents.messages.list(agent.id, limit=100, order="asc")]
    assert len(whole) == 7, whole
    equal(whole, [key(each) for each in letta.agents.messages.list(agent.id, limit=2, order="asc")])
    newest = letta.agents.messages.list(agent.id, limit=2, order="desc")
    equal([key(each) for each in newest.items], whole[-2:])
    older = letta.agents.messages.list(agent.id, limit=2, before=newest.items[0].id, order="desc")
    equal([key(each) for each in older.items], whole[-4:-2])


@case
def blocks():
    block = letta.blocks.create(label="notes", value="first", description="notes", limit=200)
    agent = new_agent()
    letta.agents.blocks.attach(block.id, agent_id=agent.id)
    equal(sorted(each.label for each in letta.agents.blocks.list(agent.id)), ["human", "notes", "persona"])
    equal(letta.agents.blocks.update("notes", agent_id=agent.id, value="second").value, "second")
    equal([each.id for each in letta.blocks.agents.list(block.id)], [agent.id])
    equal(letta.blocks.retrieve(block.id).value, "second")
    letta.agents.blocks.detach(block.id, agent_id=agent.id)
    try:
        letta.blocks.update(block.id, value="x" * 201)
        raise AssertionError("A value over the limit was taken")
    except APIStatusError as error:
        status = error.status_code
    letta.blocks.delete(block.id)
    return f"over the limit: {status}"


@case
def tools():
    source = 'def roll(sides: int) -> int:\n    """Rolls.\n\n    Args:\n        sides (int): How many.\n    """\n    return sides\n'
    tool = letta.tools.upsert(source_code=source)
    equal(tool.name, "roll")
    equal(letta.tools.retrieve(tool.id).json_schema["parameters"]["required"], ["sides"])
    equal([each.id for each in letta.tools.list(name="roll")], [tool.id])
    agent = new_agent(tool_ids=[tool.id])
    names = [each.name for each in letta.agents.tools.list(agent.id)]
    assert "roll" in names, names
    letta.agents.tools.detach(tool.id, agent_id=agent.id)
    letta.agents.tools.attach(tool.id, agent_id=agent.id)
    letta.agents.tools.update_approval("roll", agent_id=agent.id, body_requires_approval=True)
    letta.tools.update(tool.id, description="Rolls a die")
    letta.tools.delete(tool.id)
    return f"{len(list(letta.tools.list()))} tools listed"


@case
def passages():
    agent = new_agent()
    made = letta.agents.passages.create(agent.id, text="The lighthouse opens at nine", tags=["sea"])
    letta.agents.passages.create(agent.id, text="The bakery closes at six")
    equal(len(list(letta.agents.passages.list(agent.id))), 2)
    found = letta.agents.passages.search(agent.id, query="lighthouse")
    equal(found.results[0].content, "The lighthouse opens at nine")
    letta.agents.passages.delete(made[0].id, agent_id=agent.id)
    equal(len(list(letta.agents.passages.list(agent.id))), 1)


@case
def archives():
    archive = letta.archives.create(name="harbour")
    letta.archives.passages.create(archive.id, text="Ships leave at dawn")
    agent = new_agent()
    letta.agents.archives.attach(archive.id, agent_id=agent.id)
    equal([each.id for each in letta.archives.list(agent_id=agent.id)], [archive.id])
    letta.agents.archives.detach(archive.id, agent_id=agent.id)
    letta.archives.delete(archive.id)


@case
def runs_and_steps():
    agent = new_agent()
    letta.agents.messages.create(agent.id, input="hello")
    run = next(iter(letta.runs.list(agent_id=agent.id)))
    equal(letta.runs.retrieve(run.id).status, "completed")
    equal([each.message_type for each in letta.runs.messages.list(run.id)][-1], "assistant_message")
    assert letta.runs.usage.retrieve(run.id).total_tokens > 0
    steps = list(letta.runs.steps.list(run.id))
    equal(len(steps), 1)
    equal(letta.steps.retrieve(steps[0].id).run_id, run.id)
    equal([each.id for each in letta.steps.list(agent_id=agent.id)], [steps[0].id])


@case
def conversations():
    agent = new_agent()
    made = letta.conversations.create(agent_id=agent.id, summary="talk")
    events = list(letta.conversations.messages.create(made.id, input="hello", streaming=True))
    equal(events[-1].message_type, "usage_statistics")
    for text in ["one", "two"]:
        list(letta.conversations.messages.create(made.id, input=text, streaming=True))
    key = lambda each: (each.id, each.message_type)
    ascending = [key(each) for each in letta.conversations.messages.list(made.id, order="asc", limit=2)]
    descending = [key(each) for each in letta.conversations.messages.list(made.id, order="desc", limit=2)]
    equal(len(ascending), 7)
    equal(descending, ascending[::-1])
    fork = letta.conversations.fork(made.id) if hasattr(letta.conversations, "fork") else None
    equal(letta.conversations.update(made.id, summary="talked").summary, "talked")
    equal(sorted(each.id for each in letta.conversations.list(agent_id=agent.id)), sorted([made.id] + ([fork.id] if fork else [])))
    letta.conversations.delete(made.id)


@case
def async_run_and_cancel():
    agent = new_agent()
    run = letta.agents.messages.create_async(agent.id, input="Count to 10")
    deadline = time.monotonic() + 20
    while letta.runs.retrieve(run.id).status not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, "The run does not end"
        time.sleep(0.05)
    equal(letta.runs.retrieve(run.id).status, "completed")
    run = letta.agents.messages.create_async(agent.id, input="Count to 1000")
    sent.clear()
    try:
        letta.agents.messages.create(agent.id, input="meanwhile")
        raise AssertionError("A second request was accepted meanwhile")
    except ConflictError as error:
        assert run.id in str(error), error
    equal(len(sent), 1)
    letta.agents.messages.cancel(agent.id, run_ids=[run.id])
    equal(letta.runs.retrieve(run.id).status, "cancelled")
    equal(letta.runs.retrieve(run.id).stop_reason, "cancelled")


@case
def client_tool_and_approval():
    agent = new_agent()
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    answer = letta.agents.messages.create(
        agent.id, input='call read_file {"path": "a"}', client_tools=[{"name": "read_file", "description": "Reads", "parameters": schema}]
    )
    equal(answer.stop_reason.stop_reason, "requires_approval")
    call = answer.messages[-1].tool_call
    try:
        letta.agents.messages.create(agent.id, input="well?")
        raise AssertionError("A message was accepted while an approval is pending")
    except ConflictError as error:
        assert "waiting for approval" in str(error), error
    approvals = [{"type": "tool", "tool_call_id": call.tool_call_id, "tool_return": "contents", "status": "success"}]
    answer = letta.agents.messages.create(agent.id, messages=[{"type": "approval", "approvals": approvals}])
    equal(answer.stop_reason.stop_reason, "end_turn")
    assert "contents" in answer.messages[-1].content


@case
def models_and_providers():
    handles = [model.handle for model in letta.models.list()]
    assert "kelpie/demo" in handles, handles
    letta.models.embeddings.list()
    return ", ".join(handles)


@case
def tags():
    new_agent(tags=["tagged"])
    assert "tagged" in list(letta.tags.list())


@case
def errors():
    try:
        letta.agents.retrieve("nonsense")
        raise AssertionError("An id of no kind was taken")
    except UnprocessableEntityError as error:
        assert "agent" in str(error)
    try:
        letta.agents.create(model="openai/none")
        raise AssertionError("A model that is not there was taken")
    except NotFoundError as error:
        assert "openai/none" in str(error), error


@case
def errors_of_the_model():
    agent = letta.agents.create(model="anthropic/scripted")
    try:
        letta.agents.messages.create(agent.id, input="REFUSE")
        raise AssertionError("An answer came from a provider that refuses")
    except BadRequestError as error:
        equal(error.body["error"]["type"], "llm_bad_request")
    kinds = []
    try:
        for event in letta.agents.messages.stream(agent.id, input="REFUSE"):
            kinds.append((event.message_type, getattr(event, "stop_reason", None)))
        raise AssertionError("A stream that failed ended without an error")
    except APIError as error:
        assert "llm_bad_request" in str(error.body), error.body
    equal(kinds[-1], ("stop_reason", "llm_api_error"))


@case
def asynchronous_client():
    async def talk():
        async with AsyncLetta(base_url=url) as client:
            made = await asyncio.gather(*[client.agents.create(model="kelpie/demo", name=f"async-{n}", tags=["async"]) for n in range(8)])
            async def one(agent):
                text = ""
                stream = await client.agents.messages.stream(agent.id, input="Count to 5", stream_tokens=True)
                async for event in stream:
                    if event.message_type == "assistant_message":
                        text += event.content
                return text
            texts = await asyncio.gather(*[one(agent) for agent in made])
            assert all("5" in text for text in texts), texts
            listed = [agent.id async for agent in client.agents.list(tags=["async"], limit=3, order="asc")]
            equal(sorted(listed), sorted(agent.id for agent in made))
            return len(texts)
    return f"{asyncio.run(talk())} streams at once"


failed = 0
for function in cases:
    name = function.__name__.replace("_", " ")
    try:
        remark = function()
        print(f"  ok      {name}" + ("" if remark is None else f": {remark}"))
    except AttributeError as error:
        print(f"  absent  {name}: {error}")
    except Exception:
        failed += 1
        print(f"  FAILED  {name}\n{traceback.format_exc(limit=3)}")
sys.exit(1 if failed else 0)
