package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Ports says where the instance listens on the host, by name: PORT or ADDRESS:PORT. An empty
// Port is closed; a name that is missing keeps what is there.
type Ports map[string]Port

// The names of the ports.
const (
	PortHTTPS = "https" // API, user interface, ingress
	PortHTTP  = "http"  // to redirect to https
	PortMQTTS = "mqtts"
	PortMQTT  = "mqtt" // plain; closed by default
)

// portNames in the order in which they are shown.
func portNames() []string { return []string{PortHTTPS, PortHTTP, PortMQTTS, PortMQTT} }

func defaultPorts() Ports {
	return Ports{PortHTTPS: "443", PortHTTP: "80", PortMQTTS: "8883", PortMQTT: ""}
}

// Port is "8443", "127.0.0.1:8443", "[::1]:8443", or "" for closed. In files it may be a
// number, and null for closed.
type Port string

// UnmarshalJSON takes a number, a text or null.
func (p *Port) UnmarshalJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*p = ""
	case string:
		*p = Port(v)
	case float64:
		*p = Port(strconv.FormatFloat(v, 'f', -1, 64))
	default:
		return fmt.Errorf("a port is PORT, ADDRESS:PORT or null")
	}
	return nil
}

// Split returns the address ("" for all) and the number of an open port.
func (p Port) Split() (address string, number uint16, err error) {
	host, port := "", string(p)
	if at := strings.LastIndexByte(port, ':'); at >= 0 {
		host, port = port[:at], port[at+1:]
		bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		addr, err := netip.ParseAddr(bare)
		if err != nil || addr.Zone() != "" || addr.Is6() != (bare != host) {
			return "", 0, p.wrong()
		}
		host = addr.String()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strings.HasPrefix(port, "+") {
		return "", 0, p.wrong()
	}
	return host, uint16(n), nil
}

func (p Port) wrong() error {
	return Errorf(Invalid, "cannot use port %q: it is PORT or ADDRESS:PORT, such as 8443 or 127.0.0.1:8443", string(p))
}

// JoinPort makes a port of an address (empty for all) and a number.
func JoinPort(address string, number uint16) Port {
	port := strconv.Itoa(int(number))
	switch {
	case address == "":
		return Port(port)
	case strings.Contains(address, ":"):
		address = "[" + address + "]"
	}
	return Port(address + ":" + port)
}

// canonical writes equal ports equally. What is wrong stays as it is, for check to refuse.
func (p Port) canonical() Port {
	address, number, err := p.Split()
	switch {
	case p == "" || err != nil:
		return p
	case address == "" || address == "0.0.0.0":
		return Port(strconv.Itoa(int(number)))
	}
	return Port(netip.AddrPortFrom(netip.MustParseAddr(address), number).String())
}

func (p Ports) check() error {
	used := map[uint16]string{}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !slices.Contains(portNames(), name) {
			return Errorf(Invalid, "cannot use the port name %q: it is %s", name, strings.Join(portNames(), ", "))
		}
		if p[name] == "" {
			continue
		}
		_, number, err := p[name].Split()
		if err != nil {
			return Errorf(Invalid, "ports.%s: %w", name, err)
		}
		if other, taken := used[number]; taken && p.overlap(name, other) {
			return Errorf(Invalid, "cannot use port %d for both %s and %s", number, other, name)
		}
		used[number] = name
	}
	return nil
}

// overlap reports whether two open ports of one number share an address.
func (p Ports) overlap(a, b string) bool {
	x, _, _ := p[a].canonical().Split()
	y, _, _ := p[b].canonical().Split()
	return x == y || x == "" || y == ""
}

// over lays p over below, name by name.
func (p Ports) over(below Ports) Ports {
	merged := maps.Clone(below)
	for name, port := range p {
		merged[name] = port.canonical()
	}
	return merged
}
