"""pytest-django's tests with a database in SQLite are the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_database_is_the_same(suite: Suite) -> None:
    suite.write({
        "settings.py": """
            SECRET_KEY = "x"
            INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
            DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "base.sqlite"}}
            DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        """,
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\n",
        "a": """
            import pytest
            from django.contrib.auth.models import User
            from django.test import TestCase

            @pytest.mark.django_db
            @pytest.mark.parametrize("name", ["a", "b"])
            def test_rows(name):
                User.objects.create(username=name)
                assert User.objects.count() == 1
            @pytest.mark.django_db(transaction=True)
            def test_transaction(): assert User.objects.count() == 0
            def test_refused(): User.objects.count()
            class TestIt(TestCase):
                @classmethod
                def setUpTestData(cls): cls.user = User.objects.create(username="c")
                def test_one(self): self.assertEqual(User.objects.get().username, "c")
        """,
    })

    plain, isolated = suite.twice("-p", "pytest_django.plugin")

    assert isolated == plain
