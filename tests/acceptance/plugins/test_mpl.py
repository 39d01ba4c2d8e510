"""pytest-mpl's pictures: new ones get out, comparisons and their results as in a plain run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

PLUGIN = ("-p", "pytest_mpl.plugin")


def test_pictures_get_out_and_are_compared(suite: Suite) -> None:
    suite.write({
        "a": """
            import matplotlib, os, pytest
            matplotlib.use("agg")
            import matplotlib.pyplot as plt

            @pytest.mark.parametrize("end", [2, 3])
            @pytest.mark.mpl_image_compare
            def test_line(end):
                figure, axes = plt.subplots(figsize=(1, 1))
                axes.plot([1, end if "OTHER" not in os.environ else 5])
                return figure
        """
    })
    places = ("baseline", "results")
    made = suite.run("--isolate", *PLUGIN, "--mpl-generate-path=baseline")
    found = []
    for arguments in ([], ["--isolate"]):
        options = ["--mpl", "--tb=no", "--mpl-results-path=results"]
        options.append("--mpl-generate-summary=json")
        good = suite.run(*arguments, *PLUGIN, *options)
        bad = suite.run(*arguments, *PLUGIN, *options, OTHER="1")
        pictures = [sorted(p.name for p in (suite.directory / d).rglob("*.png")) for d in places]
        found.append((good.outcomes("test_line[2]"), bad.outcomes("test_line[2]"), pictures))

    assert "2 skipped" in made.output
    assert found[1] == found[0]
    assert found[0][0]["call"] == "passed"
    assert found[0][1]["call"] == "failed"
    assert len(found[0][2][0]) == 2
