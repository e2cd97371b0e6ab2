"""Basic and Digest, held against the RFCs' own examples; no header makes it raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.worker.auth import authorization, challenges

# RFC 7616, 3.9.1
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
RFC = [
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={name}, nonce="{NONCE}", opaque="{OPAQUE}"'
    for name in ("SHA-256", "MD5")
]
ANSWERS = (
    "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    "8ca523f5e9506fed4657c9700eebdbec",
)


GIVEN = {
    "method": "GET",
    "uri": "/dir/index.html",
    "username": "Mufasa",
    "password": "Circle of Life",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}


def answer(challenge, **other):
    return authorization(challenge, **GIVEN | other)


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_rfc_7616(number):
    (offered,) = challenges([RFC[number]])
    said = answer(offered)
    assert f'response="{ANSWERS[number]}"' in said
    assert "qop=auth, nc=00000001" in said
    assert 'opaque="FQhe/' in said


def test_the_example_of_rfc_2069_without_qop():
    (offered,) = challenges(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])
    said = answer(offered, password="CircleOfLife")  # noqa: S106 - the RFC's
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in said  # RFC 2069's example, as its errata mend it
    assert "qop" not in said


def test_basic_is_the_last_choice_and_the_strongest_digest_the_first():
    aladdin = {"username": "Aladdin", "password": "open sesame"}
    offered = challenges([RFC[1], 'Basic realm="x", ' + RFC[0]])
    assert [(item.scheme, item.algorithm) for item in offered] == [
        ("digest", "SHA-256"),
        ("digest", "MD5"),
        ("basic", "MD5"),
    ]
    assert answer(offered[-1], **aladdin) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Negotiate",
        'Bearer realm="x"',
        'Digest realm="x", nonce="n", algorithm=SHA-512-256',
        'Digest realm="x", nonce="n", qop="auth-int"',
    ],
)
def test_what_we_cannot_do_is_not_tried(header):
    assert challenges([header]) == []


def test_a_session_key_changes_the_answer():
    (offered,) = challenges(['Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess'])
    assert answer(offered) != answer(offered, cnonce="other")
    assert "algorithm=MD5-sess" in answer(offered)


@given(
    st.lists(st.text(max_size=200) | st.from_regex(r'(Digest|Basic) ([a-z]+=("[^"]*"|[a-z0-9]+), ?)*', fullmatch=True))
)
def test_no_header_makes_it_raise(headers):
    for offered in challenges(headers):
        assert answer(offered).startswith(("Digest ", "Basic "))
