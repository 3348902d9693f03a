"""Where compiled programs are kept: by commands, and by programs of others that import the package."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from metis_jax.inference import programs


@pytest.fixture
def settings():
    """JAX's cache settings, put back afterwards."""
    names = (
        "jax_enable_compilation_cache",
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path, settings):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    programs.use_compilation_cache(None)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "metis_jax" / "programs")
    assert (tmp_path / "metis_jax" / "programs").is_dir()


def test_the_cache_can_be_moved_and_turned_off(monkeypatch, tmp_path, settings):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "theirs"))
    assert programs.default_cache() == tmp_path / "theirs"
    programs.use_compilation_cache(str(tmp_path / "ours"))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "ours")
    programs.use_compilation_cache("off")
    assert not jax.config.jax_enable_compilation_cache


def test_a_cache_that_can_not_be_written_is_reported(tmp_path, capsys, settings):
    (tmp_path / "file").write_text("")
    before = jax.config.jax_compilation_cache_dir
    programs.use_compilation_cache(str(tmp_path / "file" / "cache"))
    assert "no compilation cache there" in capsys.readouterr().err
    assert jax.config.jax_compilation_cache_dir == before


def test_a_cache_that_others_can_write_is_not_used(tmp_path, capsys, settings):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    before = jax.config.jax_compilation_cache_dir
    programs.use_compilation_cache(str(tmp_path / "open"))
    assert capsys.readouterr().err == f"no compilation cache: {tmp_path / 'open'}: others can write there\n"
    assert jax.config.jax_compilation_cache_dir == before


def test_a_user_without_a_home_has_no_cache(monkeypatch, capsys, settings):
    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # nobody of the password file
    before = jax.config.jax_compilation_cache_dir
    programs.use_compilation_cache(None)
    assert "no home folder; set HOME or XDG_CACHE_HOME" in capsys.readouterr().err
    assert jax.config.jax_compilation_cache_dir == before


def test_a_program_of_others_keeps_what_it_compiles(monkeypatch, tmp_path, settings):
    """Also where it has compiled before, and JAX has decided that there is no cache; but not where it wants none."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "metis_jax" / "programs"
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    jax.config.update("jax_enable_compilation_cache", False)
    programs.keep_programs()
    assert not kept.exists() and programs.kept_in() == ""
    jax.config.update("jax_enable_compilation_cache", True)
    jax.jit(lambda x: jnp.cos(x) * 5.25)(jnp.ones(19))
    programs.keep_programs()
    jax.jit(lambda x: jnp.cos(x) * 5.75)(jnp.ones(19))
    assert programs.kept_in() == str(kept) and list(kept.iterdir())
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    programs.keep_programs()
    assert programs.kept_in() == str(tmp_path / "theirs")
