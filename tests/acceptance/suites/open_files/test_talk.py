from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import socket

import pytest

QUEUE, SIMPLE, (HERE, THERE) = mp.Queue(), mp.SimpleQueue(), mp.Pipe()
ONE, OTHER = socket.socketpair()
LOOP, LOCK, EVENT = asyncio.new_event_loop(), mp.Lock(), mp.Event()


@pytest.fixture(params=[1, 2], autouse=True)
def turn(request):
    return request.param


def test_queue(turn):
    QUEUE.put(turn)
    assert QUEUE.get(timeout=30) == turn


def test_left(turn):
    assert SIMPLE.empty()
    SIMPLE.put(turn)


def test_pipe(turn):
    HERE.send(turn)
    assert THERE.recv() == turn
    HERE.send("left")


def test_loop():
    async def answer():
        LOOP.call_later(0.01, OTHER.send, b"x")
        ONE.settimeout(0)
        said = await LOOP.sock_recv(ONE, 9)
        return said, await LOOP.run_in_executor(None, os.getpid)

    coroutine = asyncio.wait_for(answer(), 30)
    assert LOOP.run_until_complete(coroutine) == (b"x", os.getpid())
    OTHER.send(b"left")


def test_lock():
    assert LOCK.acquire(timeout=0)


def test_event():
    assert not EVENT.is_set()
    EVENT.set()
