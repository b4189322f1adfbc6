"""Puts jobs/ and search_spaces/, which stand beside the package, into the wheel; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = ("jobs", "search_spaces")


class BuildWithData(build_py):
    """Copies the folders into the built package. An editable install reads them where they are."""

    def run(self) -> None:
        """Build the package, then add the data."""
        super().run()
        if not self.editable_mode:
            for folder in DATA:
                shutil.copytree(folder, Path(self.build_lib, "munchray", folder), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
