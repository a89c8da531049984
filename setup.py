"""Lets a wheel hold the convolution kernels compiled: `PICTORCH_KERNELS=1` in the environment of a build.

Such a wheel is for one kind of system only. All else about the package stands in pyproject.toml.
"""

import os
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().with_name("src")


class BuildWithKernels(build_py):
    """Compiles them into the folder that the wheel is made of, not into the source tree."""

    def run(self) -> None:
        """Copies the package as always, then adds the library."""
        super().run()
        sys.path.insert(0, str(SOURCE))
        from pictorch.kernels.building import Unavailable, build, find_compiler, packaged_path

        compiler = find_compiler()
        target = Path(self.build_lib, packaged_path().relative_to(SOURCE))
        built = compiler if isinstance(compiler, Unavailable) else build(compiler, target.absolute())
        if isinstance(built, Unavailable):
            raise SystemExit(f"the kernels cannot be put into the wheel, {built.reason}; leave out KERNELS=1")


class PlatformWheel(bdist_wheel):
    """A wheel for this system and any Python 3: the library is loaded by ctypes, and knows no Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Returns Python, ABI and platform; 'linux', since nothing here checks manylinux's promises."""
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    """A package that is installed where those with compiled parts are."""

    def has_ext_modules(self) -> bool:
        """Returns that it has compiled parts."""
        return True


if os.environ.get("PICTORCH_KERNELS", "") not in {"", "0"}:
    setup(
        distclass=PlatformDistribution,
        cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel},
    )
else:
    setup()
