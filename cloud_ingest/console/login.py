"""The login page: plain HTML without a script, so that a stranger reaches nothing of the application."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cloud_ingest.console.texts import LANG_TAGS, text

if TYPE_CHECKING:
    from cloud_ingest.console.texts import Lang


def login_page(lang: Lang, target: str, problem: str = "") -> bytes:
    """Return the page; a login leads on to `target`, a path of ours."""

    def say(key: str) -> str:
        return escape(text(key, lang))

    other: Lang = "en" if lang == "zh" else "zh"
    start = target.removeprefix(f"/{lang}/") if target.startswith(f"/{lang}/") else ""
    switch = escape("/login?" + urlencode({"to": f"/{other}/{start}"}))
    action = escape("/login?" + urlencode({"to": target}))
    told = f'<p class="notice" role="alert">{escape(problem)}</p>' if problem else ""
    page = f"""<!doctype html>
<html lang="{LANG_TAGS[lang]}">
<head>
<meta charset="utf-8">
<title>{say("login_title")} · {say("product")}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="/favicon.ico" type="image/svg+xml">
<link rel="stylesheet" href="/assets/console.css">
</head>
<body class="login">
<main>
<form method="post" action="{action}" class="panel">
<div class="brand"><span class="brand-mark" aria-hidden="true"></span><span>{say("product")}</span></div>
<h1>{say("login_title")}</h1>
{told}
<label for="password">{say("password")}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button type="submit">{say("log_in")}</button>
<p class="hint">{say("login_hint")}</p>
<a class="switch" href="{switch}" lang="{LANG_TAGS[other]}">{say("other_language")}</a>
</form>
</main>
</body>
</html>
"""
    return page.encode()
