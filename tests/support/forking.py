"""Starts children quickly: forked from a server that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["support.dying", "support.apr_dying", "support.syncs_dying", "support.emr_dying", "support.leasing"]
)

# The server looks for modules where Python does by itself, not where pytest was told to: without this it would import
# nothing, and each child everything.
with pytest.MonkeyPatch.context() as _patch:
    _patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    forkserver.ensure_running()
