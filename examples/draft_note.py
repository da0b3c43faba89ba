"""Draft a note on a topic with a writer and an editor, who revise it until the editor is content."""

from stepwell import Agent, Loop, Step, StepInput, StepOutput, Workflow

writer = Agent("writer", "Write a note of at most three sentences. Follow the remark if there is one.")
editor = Agent("editor", "Say in one sentence what to change in the note. If nothing, answer only: good.")


def brief(given: StepInput) -> str:
    note = given.get_step_content("write")
    if note is None:
        return f"Topic: {given.input}"
    return f"Topic: {given.input}\nNote: {note}\nRemark: {given.get_last_step_content()}"


def is_good(outputs: list[StepOutput]) -> bool:
    return outputs[-1].content.strip().lower().startswith("good")


def note(given: StepInput) -> str:
    return given.get_step_content("write")


workflow = Workflow(
    "draft_note",
    steps=[
        Loop(
            "revise",
            steps=[Step("write", agent=writer, input_builder=brief), Step("review", agent=editor)],
            end_condition=is_good,
            max_iterations=3,
        ),
        Step("note", executor=note),
    ],
)
