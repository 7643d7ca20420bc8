"""A Modbus server made with pymodbus, for tests: server.py PORT socket|rtu

Units 1 and 2 answer, all others are silent. Holding registers 0..49 and 60..99 exist, with the
values below and the unit's number elsewhere. Prints "ready PORT" once it listens.
"""
import asyncio
import struct
import sys

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext, ModbusSparseDataBlock
from pymodbus.framer.rtu_framer import ModbusRtuFramer
from pymodbus.framer.socket_framer import ModbusSocketFramer
from pymodbus.server.async_io import ModbusTcpServer


def words(fmt, value):
    data = struct.pack(fmt, value)
    return list(struct.unpack(">%dH" % (len(data) // 2), data))


def unit(number):
    holding = {a: [number] for a in list(range(50)) + list(range(60, 100))}
    for address, values in {
        0: words(">f", 21.7),
        2: words(">q", 2**53 + 1),
        6: list(reversed(words(">i", -123456))),
        8: words("<d", 0.1),
        12: words(">8s", b"millwork"),
    }.items():
        for i, value in enumerate(values):
            holding[address + i] = [value]
    return ModbusSlaveContext(
        hr=ModbusSparseDataBlock(holding),
        ir=ModbusSparseDataBlock({a: [1000 + a] for a in range(20)}),
        co=ModbusSparseDataBlock({a: [a % 3 == 0] for a in range(40)}),
        di=ModbusSparseDataBlock({a: [a % 2 == 0] for a in range(40)}),
        zero_mode=True,
    )


async def main(port, framer):
    server = ModbusTcpServer(
        ModbusServerContext({1: unit(1), 2: unit(2)}, single=False),
        framer={"socket": ModbusSocketFramer, "rtu": ModbusRtuFramer}[framer],
        address=("127.0.0.1", port),
        allow_reuse_address=True,
        ignore_missing_slaves=True,
    )
    task = asyncio.ensure_future(server.serve_forever())
    await server.serving
    print("ready", server.server.sockets[0].getsockname()[1], flush=True)
    await task


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
