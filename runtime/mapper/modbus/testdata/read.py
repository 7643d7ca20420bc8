"""Reads with pymodbus's client, for tests: read.py PORT UNIT coils|holding ADDRESS COUNT"""
import sys

from pymodbus.client import ModbusTcpClient

port, unit, table, address, count = sys.argv[1:]
client = ModbusTcpClient("127.0.0.1", int(port))
client.connect()
if table == "coils":
    answer = client.read_coils(int(address), int(count), slave=int(unit))
    print([int(bit) for bit in answer.bits[: int(count)]])
else:
    answer = client.read_holding_registers(int(address), int(count), slave=int(unit))
    print(answer.registers)
client.close()
