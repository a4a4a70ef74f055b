"""Linear algebra whose last digit does not depend on the number of threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_turn = threading.Lock()
_controller = cache(ThreadpoolController)


def on_one_blas_thread(
    function: Callable[_Parameters, _Result], *arguments: _Parameters.args, **options: _Parameters.kwargs
) -> _Result:
    """What the function returns, computed with BLAS limited to one thread.

    The limit is the whole process's, so callers take turns, each in a thread of its own that ends with the limit
    lifted. A limit that another thread of the process has set by threadpoolctl and not lifted yet goes before this one.
    """

    def limited() -> _Result:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*arguments, **options)

    with _turn, ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(limited).result()
