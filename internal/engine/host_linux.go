package engine

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listening is TCP_LISTEN as /proc/net/tcp has it.
const listening = "0A"

// hostListener names the process of this host that listens on the port; empty: none. Where
// the process cannot be seen it is "another process".
func hostListener(address string, number uint16) string {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, fields := range table(file) {
			if len(fields) < 10 || fields[3] != listening {
				continue
			}
			ip, port, ok := parseAddrPort(fields[1])
			if ok && port == number && meet(ip.String(), address) {
				return processOf(fields[9])
			}
		}
	}
	return ""
}

// hostFirstPort is the first port that a program without root's rights may open on this host.
func hostFirstPort(usual uint16) uint16 {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	first, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil {
		return usual
	}
	return uint16(first)
}

// table reads a file of /proc/net, without its header. One that cannot be read has no lines.
func table(file string) [][]string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var rows [][]string
	for _, line := range strings.Split(string(text), "\n")[1:] {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

// parseAddrPort reads "0100007F:1F90": words of the host's (little) byte order.
func parseAddrPort(s string) (netip.Addr, uint16, bool) {
	host, port, _ := strings.Cut(s, ":")
	bytes, err := hex.DecodeString(host)
	number, errPort := strconv.ParseUint(port, 16, 16)
	if err != nil || errPort != nil || len(bytes)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for word := range slices.Chunk(bytes, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(bytes)
	return addr.Unmap(), uint16(number), ok
}

// processOf names the process that has the socket.
func processOf(inode string) string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return "another process"
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil {
			return "process " + pid + " (" + strings.TrimSpace(string(name)) + ")"
		}
	}
	return "another process"
}

// hostRoutes are this host's IPv4 routes but the default one, and their devices.
func hostRoutes() map[string]string {
	routes := map[string]string{}
	for _, fields := range table("/proc/net/route") {
		if len(fields) < 8 {
			continue
		}
		network, _, okNetwork := parseAddrPort(fields[1] + ":0")
		mask, _, okMask := parseAddrPort(fields[7] + ":0")
		if !okNetwork || !okMask {
			continue
		}
		bits := 0
		for _, b := range mask.As4() {
			for ; b != 0; b <<= 1 {
				bits++
			}
		}
		routes[netip.PrefixFrom(network, bits).String()] = fields[0]
	}
	return routes
}
