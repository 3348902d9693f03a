"""The tasks: what each makes speech of, and how the authors decode it.

What else depends on the task says so beside its own work: keys of a job (`cli/requests.py`), examples
(`data/batches/tasks.py`), the files that serve it (`convert/published.py`).
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Attributes:
      title: its name in words.
      source: what is made speech: "speech", "text" or "lips".
      is_prompted: a recording of the voice stands in front; without one, the voice is the source's.
      steps, guidance: of stage 1, as released.
    """

    title: str
    source: str
    is_prompted: bool
    steps: int
    guidance: float


TASKS = {
    "se": Task(title="speech enhancement", source="speech", is_prompted=False, steps=10, guidance=0.0),
    "tse": Task(title="target speaker extraction", source="speech", is_prompted=True, steps=10, guidance=0.0),
    "vc": Task(title="voice conversion", source="speech", is_prompted=True, steps=20, guidance=1.0),
    "tts": Task(title="text to speech", source="text", is_prompted=True, steps=25, guidance=2.5),
    "l2s": Task(title="lip to speech", source="lips", is_prompted=True, steps=25, guidance=0.0),
}
