package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkPlant measures the whole way: simulator, protocol, mapper, broker, one process
// each for simulator and runtime, and a subscriber in the runtime that counts. It reports
// values/s, CPU in percent of one core, and resident memory of the runtime.
//
//	make bench
func BenchmarkPlant(b *testing.B) {
	const endpoints, intervalMs = 1100, 100 // 11,000 values/s of each kind are offered
	opcua, modbus, _ := plant(b, "--opcua-variables", strconv.Itoa(endpoints), "--modbus-registers", strconv.Itoa(endpoints))
	_, opcuaPort := splitAddress(b, opcua)
	_, modbusPort := splitAddress(b, modbus)
	overModbus := benchResources("Modbus", modbusPort, endpoints, func(n int) string {
		return fmt.Sprintf("fc: 3, address: %d, dataType: uint16BE, interval: %d", 1000+n, intervalMs)
	})
	overOpcua := benchResources("Opcua", opcuaPort, endpoints, func(n int) string {
		return fmt.Sprintf("nodeId: 'ns=2;s=Bench.%d', samplingInterval: %d, publishInterval: %d", n, intervalMs, intervalMs)
	})
	for name, resources := range map[string]string{"modbus": overModbus, "opcua": overOpcua, "both": overModbus + overOpcua} {
		b.Run(name, func(b *testing.B) {
			measureFlow(b, "description: bench\nmetadata: {name: bench}\nresources:\n"+resources)
		})
	}
}

// benchResources is a connection and its endpoints, for a file's resources.
func benchResources(protocol, port string, endpoints int, address func(n int) string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "  plc%s:\n    type: Cybus::Connection\n    properties: {protocol: %[1]s, connection: {host: 127.0.0.1, port: %s}}\n", protocol, port)
	for n := range endpoints {
		fmt.Fprintf(&s, "  e%[1]s%[2]d:\n    type: Cybus::Endpoint\n    properties: {protocol: %[1]s, connection: !ref plc%[1]s, subscribe: {%[3]s}}\n", protocol, n, address(n))
	}
	return s.String()
}

// measureFlow installs the file and counts for ten seconds what arrives.
func measureFlow(b *testing.B, file string) {
	const span = 10 * time.Second
	i := newInstance(b)
	i.up()
	i.install("bench", file, "--wait-for", "data", "--timeout", "60s")
	for b.Loop() {
		messages, cpu, start := totalMessages(i), cpuSeconds(b, i.cmd.Process.Pid), time.Now()
		<-time.After(span)
		took := time.Since(start).Seconds()
		b.ReportMetric(float64(totalMessages(i)-messages)/took, "values/s")
		b.ReportMetric((cpuSeconds(b, i.cmd.Process.Pid)-cpu)/took*100, "%cpu")
		b.ReportMetric(residentMiB(b, i.cmd.Process.Pid), "MiB")
	}
	i.stop()
}

func totalMessages(i *instance) (sum uint64) {
	for _, s := range i.resources("endpoints") {
		sum += s.Messages
	}
	return sum
}

// cpuSeconds reads user and system time from /proc/<pid>/stat, fields 14 and 15, in hundredths of a second.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skipf("CPU time is read from /proc: %v", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks float64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// residentMiB reads VmRSS from /proc/<pid>/status.
func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("/proc/<pid>/status has no VmRSS")
	return 0
}
