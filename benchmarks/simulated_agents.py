"""Many agents in one process: they enrol, hold control connections, do the jobs that they are offered, and back up.

    python -m benchmarks.simulated_agents ENROLMENT_STRING DIRECTORY FIRST COUNT

Driven by JSON lines on standard input, each answered by one on standard output: {"do": …}, with the name of a method of
`Crowd`. Real TLS, the real protocol and real signatures; only the data is made up.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from agents.keys.enrollment import EnrollmentString
from benchmarks.simulated_link import LinkLost, SimulatedLink, client_context
from protocol.stored.blocks import encode_block
from protocol.stored.machine_records import MachineRecord
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.stored.roots import RootHeader, encode_root_header
from protocol.stored.statements import Statement, blocks_hash
from protocol.wire import Event, messages

AT_ONCE = 6
"""Enrolments of one process at the same time: the gateway admits sixteen strangers of an address."""
CONNECTING = 6
MIB = 1 << 20
RECONNECT_SECONDS = 2.0
TRIES = 60
JOB_MEBIBYTES = 1
"""What a job that was offered saves."""


@dataclass
class SimulatedAgent:
    """A machine. `link` is its control connection."""

    name: str
    directory: Path
    enrollment: EnrollmentString
    link: SimulatedLink | None = None
    wanted: bool = False
    drops: list[str] = field(default_factory=list)
    held: dict[bytes, str] = field(default_factory=dict)
    """Jobs in hand, with their leases."""
    done: list[str] = field(default_factory=list)
    """Jobs that were done and whose report was confirmed."""
    snapshots: int = 0

    def __post_init__(self) -> None:
        self.may_work = asyncio.Event()
        self.may_work.set()

    @property
    def _address(self) -> tuple[str, int]:
        return self.enrollment.host, self.enrollment.port

    # --- enrolment -------------------------------------------------------------------------------------------------

    async def enrol(self, reading: bytes) -> None:
        """A fresh RSA-3072 identity, a certificate for it, a machine record."""
        self.key = await asyncio.to_thread(rsa.generate_private_key, 65537, 3072)
        link = await SimulatedLink.open(*self._address, client_context())
        facts = {"hostname": self.name, "os": "simulated"}
        message = messages.Enroll(token=self.enrollment.token, csr=self._csr(), reading_key=reading, facts=facts)
        self.enrolled = await link.ask(message)
        link.close()
        self._keep()
        await self._publish(reading)

    def _csr(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key, hashes.SHA256())
        return request.public_bytes(Encoding.DER)

    def _keep(self) -> None:
        certificate = x509.load_der_x509_certificate(self.enrolled.certificate)
        files = self.directory / f"{self.name}.pem", self.directory / f"{self.name}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.context = client_context(*files)

    async def _publish(self, reading: bytes) -> None:
        link = await SimulatedLink.open(*self._address, self.context)
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = MachineRecord(
            self.enrolled.vault_id, self.enrolled.machine_id, 1, False, spki, reading, os.urandom(32)
        )  # the platform cannot check the MAC, and nobody restores from a simulated machine
        await link.ask(messages.Publish(machine_record=record.encode()))
        link.close()

    # --- the daemon ------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the control connection; when it breaks, note why and open it again."""
        self.wanted = True
        await self._open()
        self._keeper = asyncio.create_task(self._keep_connected())

    async def _open(self) -> None:
        self.link = await SimulatedLink.open(*self._address, self.context, asked=self._asked)
        running = [messages.RunningJob(job=job, lease=lease) for job, lease in self.held.items()]
        message = messages.Control(
            facts={"hostname": self.name}, zone="Europe/Berlin", time=time.time_ns() // 1000, running=running
        )
        controlled = await self.link.ask(message)
        for start in range(0, len(controlled.stop), 16):
            self.held.pop(controlled.stop[start : start + 16], None)

    async def _keep_connected(self) -> None:
        while self.wanted and self.link is not None:
            reason = await self.link.lost
            if not self.wanted:
                return
            self.drops.append(reason)
            await asyncio.sleep(RECONNECT_SECONDS)
            try:
                await self._open()
            except (OSError, LinkLost, TimeoutError) as fault:
                self.drops.append(repr(fault))

    def _asked(self, event: Event) -> None:
        assert self.link is not None
        match event.message:
            case messages.Offer(job=job, lease=lease):
                self.held[job] = lease
                self.link.send(messages.Accepted(accepted=True), event.request)
                self._task = asyncio.create_task(self._do(job, lease))
            case messages.Cancel(job=job):
                self.held.pop(job, None)
                self.link.send(messages.Cancelled(), event.request)
            case _:
                self.link.send(messages.Configured(), event.request)

    async def _do(self, job: bytes, lease: str) -> None:
        """Back up and report, over as many connections as it takes, while the job is this agent's."""
        counts: dict[str, int] = {}
        for _ in range(TRIES):
            await self.may_work.wait()
            if self.held.get(job) != lease or not self.wanted:
                return
            try:
                if not counts:
                    counts = {"bytes": int((await self.back_up(JOB_MEBIBYTES, job))["bytes"])}
                    self.snapshots += 1
                assert self.link is not None
                await self.link.ask(messages.Report(job=job, lease=lease, outcome="done", counts=counts))
            except (OSError, LinkLost, TimeoutError):
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            if self.held.pop(job, None) is not None:
                self.done.append(job.hex())
            return

    def drop(self) -> None:
        """Vanish as a machine does whose power fails."""
        self.wanted = False
        if self.link is not None:
            self.link.transport.abort()

    # --- a backup --------------------------------------------------------------------------------------------------

    async def back_up(self, mebibytes: int, job: bytes = b"") -> dict[str, float]:
        """A whole backup of so many new chunks of 1 MiB: bytes and seconds, from BEGIN to COMMITTED."""
        link = await SimulatedLink.open(*self._address, self.context)
        try:
            begun_at = time.perf_counter()
            begun = await link.ask(messages.Begin(generation=0, head=bytes(32), head_sequence=0, job=job))
            ids = []
            filler = os.urandom(MIB - 16)
            for _ in range(mebibytes):
                chunk = os.urandom(16) + filler
                ids.append(blake3(chunk).digest())
                await link.put(messages.Put(kind=messages.KIND_CHUNK, id=ids[-1], digest=ids[-1]), chunk)
            block = encode_block(ids)
            block_id = blake3(block).digest()
            await link.put(messages.Put(kind=messages.KIND_BLOCK, id=block_id, digest=block_id), block)
            commit, root = self._commit(begun, block_id)
            await link.ask(commit, root)
            return {"bytes": mebibytes * MIB, "seconds": time.perf_counter() - begun_at}
        finally:
            link.close()

    def _commit(self, begun: messages.Begun, blocks: bytes) -> tuple[messages.Commit, bytes]:
        said, sequence = self.enrolled, begun.head_sequence + 1
        header = RootHeader(said.tenant_id, said.vault_id, 1, said.machine_id, sequence, bytes(32))
        root = encode_root_header(header) + os.urandom(12 + 200 + 16)
        statement = Statement(
            vault_id=said.vault_id, epoch=1, machine_id=said.machine_id, sequence=sequence,
            time=time.time_ns() // 1000, previous=begun.head, root_hash=blake3(root).digest(),
            blocks_hash=blocks_hash(blocks),
        )  # fmt: skip
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signed = statement.with_signature(self.key.sign(statement.signed_bytes(), pss, hashes.SHA256())).encode()
        recipient = RecipientRecord(RecipientKind.VAULT, bytes(32), blake3(root).digest(), os.urandom(384)).encode()
        commit = messages.Commit(
            session=begun.session, fence=begun.fence, statement=signed, blocks=blocks, recipients=[recipient]
        )
        return commit, root


class Crowd:
    """The agents of this process, and what they are told to do."""

    def __init__(self, enrollment: str, directory: Path, first: int, count: int) -> None:
        parsed = EnrollmentString.parse(enrollment)
        directory.mkdir(parents=True, exist_ok=True)
        self.agents = [
            SimulatedAgent(f"simulated-{number:05}", directory, parsed) for number in range(first, first + count)
        ]

    async def enrol(self) -> dict[str, Any]:
        """All of them, a few at a time."""
        reading = rsa.generate_private_key(65537, 3072).public_key()
        spki = reading.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        await _a_few_at_a_time(AT_ONCE, [lambda one=one: one.enrol(spki) for one in self.agents])
        return {"enrolled": len(self.agents)}

    async def connect(self) -> dict[str, Any]:
        """All control connections."""
        begun = time.perf_counter()
        await _a_few_at_a_time(CONNECTING, [one.connect for one in self.agents])
        self._timer = asyncio.create_task(self._keep_alive())
        return {"connected": len(self.agents), "seconds": time.perf_counter() - begun}

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            for one in self.agents:
                if one.link is not None:
                    one.link.keep_alive(loop.time())

    async def ping(self, agents: int, seconds: float) -> dict[str, Any]:
        """Once a second on so many control connections: how long each answer took."""
        until, taken = time.perf_counter() + seconds, []
        chosen = [one.link for one in self.agents if one.link is not None and not one.link.lost.done()][-agents:]
        while time.perf_counter() < until:
            answers = await asyncio.gather(*(link.ping() for link in chosen), return_exceptions=True)
            taken += [answer for answer in answers if isinstance(answer, float)]
            await asyncio.sleep(1)
        return {"pings": taken}

    async def back_up(self, agents: int, mebibytes: int) -> dict[str, Any]:
        """So many agents at once, so much each."""
        begun = time.perf_counter()
        done = await asyncio.gather(*(one.back_up(mebibytes) for one in self.agents[:agents]), return_exceptions=True)
        failed = [repr(one) for one in done if isinstance(one, BaseException)]
        sizes = sum(one["bytes"] for one in done if isinstance(one, dict))
        return {"bytes": sizes, "seconds": time.perf_counter() - begun, "failed": failed}

    async def hold(self) -> dict[str, Any]:
        """From now on agents keep what they accept and do nothing with it."""
        for one in self.agents:
            one.may_work.clear()
        return {"holding": len(self.agents)}

    async def release(self) -> dict[str, Any]:
        """They go on."""
        for one in self.agents:
            one.may_work.set()
        return {"released": len(self.agents)}

    async def forget(self, first: int, agents: int) -> dict[str, Any]:
        """So many lose what they have in hand, as a machine does that starts anew."""
        for one in self.agents[first : first + agents]:
            one.held.clear()
        return {"forgotten": agents}

    async def drop(self, agents: int) -> dict[str, Any]:
        """So many vanish."""
        for one in self.agents[:agents]:
            one.drop()
        return {"dropped": agents}

    async def state(self) -> dict[str, Any]:
        """Who is connected, and what has broken since the start."""
        here = [one for one in self.agents if one.link is not None and not one.link.lost.done()]
        drops = [reason for one in self.agents for reason in one.drops]
        done = [job for one in self.agents for job in one.done]
        held = [job.hex() for one in self.agents for job in one.held]
        snapshots = sum(one.snapshots for one in self.agents)
        return {"connected": len(here), "drops": drops, "done": done, "held": held, "snapshots": snapshots}

    async def end(self) -> dict[str, Any]:
        """Everybody goes."""
        for one in self.agents:
            one.wanted = False
            if one.link is not None:
                one.link.close()
        return {"ended": True}


async def _a_few_at_a_time(most: int, calls: list[Any]) -> None:
    room = asyncio.Semaphore(most)

    async def one(call: Any) -> None:
        async with room:
            await call()

    await asyncio.gather(*(one(call) for call in calls))


async def _obey(crowd: Crowd) -> None:
    loop, running = asyncio.get_running_loop(), set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        task = asyncio.create_task(_answer(crowd, asked))
        running.add(task)
        task.add_done_callback(running.discard)
        if asked["do"] == "end":
            await task
            return


async def _answer(crowd: Crowd, asked: dict[str, Any]) -> None:
    verb, number = asked.pop("do"), asked.pop("number")
    try:
        said = await getattr(crowd, verb)(**asked)
    except (OSError, LinkLost, TimeoutError) as fault:
        said = {"fault": repr(fault)}
    print(json.dumps({"number": number, **said}), flush=True)


def main() -> None:
    """Read commands until `end` or the end of standard input."""
    enrollment, directory, first, count = sys.argv[1:5]
    uvloop.run(_obey(Crowd(enrollment, Path(directory), int(first), int(count))))


if __name__ == "__main__":
    main()
