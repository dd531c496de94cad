"""The fake server, and a client of each kind in front of it."""

import pytest
from PIL import Image
from tests.client import fake


@pytest.fixture
def servicer():
    return fake.Servicer()


@pytest.fixture
def address(servicer):
    with fake.serving(servicer) as address:
        yield address


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture
def time():
    return fake.Time()


@pytest.fixture
def client(kind, address, time):
    with fake.connecting(kind, address, time=time) as client:
        yield client


@pytest.fixture
def picture():
    """Make a picture of one colour."""

    def make(color, size=(6, 4)):
        return Image.new("RGB", size, color)

    return make
