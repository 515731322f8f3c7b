"""The benchmarks of several pictures in several orders of them: does the answer hang on the order?"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from visenv.answers import AnswerKind
from visenv.task import Profile
from visenv.wrappers import PermutedTask

from .blink import BLINK
from .muirbench import MuirBench

__all__ = ["BLINKOrders", "MuirBenchOrders"]


class BLINKOrders(PermutedTask):
    """BLINK, each question in four orders of its pictures.

    ## Description
    Sample ``4 * i + k`` is question ``i`` in order ``k``; order 0 is the given one. References to pictures are rewritten; what
    cannot be rewritten safely keeps its order (see ``visenv.wrappers``). The orders of a question are one ``cluster``.

    ## Action Space
    That of BLINK.

    ## Observation Space
    That of BLINK, its pictures in another order.

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    That of BLINK. In a sample's ``meta``, ``order`` is its order and ``given`` the sample it is made from.

    ## Arguments
    ``split``: val. There is one level. Options of the task: ``orders``, how many of each question (4); ``seed``, other orders
    (0); ``mirror``, as of BLINK.

    ## Metrics
    ``blink/official``; ``visenv.wrappers.consistency`` gives the share of questions that are right in every order.

    ## References
    Fu et al., ECCV 2024, for BLINK; PeRL, arXiv 2506.14907, for the idea of permuting.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "BLINKOrders"
    version: ClassVar[str] = BLINK.version
    kind: ClassVar[AnswerKind] = BLINK.kind
    max_turns: ClassVar[int] = BLINK.max_turns
    splits: ClassVar[tuple[str, ...]] = BLINK.splits
    levels: ClassVar[tuple[int, ...]] = BLINK.levels
    profile: ClassVar[Profile] = BLINK.profile

    def __init__(
        self, root: str | Path | None = None, *, orders: int = 4, seed: int = 0, mirror: str | None = None
    ) -> None:
        """Look for the data of BLINK."""
        super().__init__(BLINK(root, mirror=mirror), orders=orders, seed=seed)


class MuirBenchOrders(PermutedTask):
    """MuirBench, each question in four orders of its pictures.

    ## Description
    Sample ``4 * i + k`` is question ``i`` in order ``k``; order 0 is the given one. The names of pictures are rewritten; what
    cannot be rewritten safely keeps its order (see ``visenv.wrappers``). The orders of a question and of its counterpart are one
    ``cluster``.

    ## Action Space
    That of MuirBench.

    ## Observation Space
    That of MuirBench, its pictures in another order.

    ## Starting State
    All pictures of the question are visible.

    ## Rewards
    Primary score: 1 for the right letter, else 0.

    ## Episode End
    Terminated when a letter is submitted (``submitted``) or with the fifth invalid call (``agent_error``); truncated at the turn
    limit (``turn_limit``).

    ## Information
    That of MuirBench. In a sample's ``meta``, ``order`` is its order and ``given`` the sample it is made from.

    ## Arguments
    ``split``: test. There is one level. Options of the task: ``orders``, how many of each question (4); ``seed``, other orders
    (0); ``mirror``, as of MuirBench.

    ## Metrics
    ``muirbench/official``; ``visenv.wrappers.consistency`` gives the share of questions that are right in every order.

    ## References
    Wang et al., 2024, for MuirBench; PeRL, arXiv 2506.14907, for the idea of permuting.

    ## Version History
    0: initial version.
    """

    name: ClassVar[str] = "MuirBenchOrders"
    version: ClassVar[str] = MuirBench.version
    kind: ClassVar[AnswerKind] = MuirBench.kind
    max_turns: ClassVar[int] = MuirBench.max_turns
    splits: ClassVar[tuple[str, ...]] = MuirBench.splits
    levels: ClassVar[tuple[int, ...]] = MuirBench.levels
    profile: ClassVar[Profile] = MuirBench.profile

    def __init__(
        self, root: str | Path | None = None, *, orders: int = 4, seed: int = 0, mirror: str | None = None
    ) -> None:
        """Look for the data of MuirBench."""
        super().__init__(MuirBench(root, mirror=mirror), orders=orders, seed=seed)
