"""Keras 3's importer without its list of what a model may hold: what is left when that has a hole."""

import runpy
import sys

import msgspec

from maas_converter.importers.task import task_of

task = task_of(sys.argv[1:])
trusting = msgspec.structs.replace(task.options, trust=True)
sys.argv[1:] = msgspec.structs.replace(task, options=trusting).arguments()
runpy.run_module("maas_converter.importers.keras.keras3", run_name="__main__", alter_sys=True)
