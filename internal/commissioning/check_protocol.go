package commissioning

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What follows holds the rules of protocols that tags cannot say.

func (e *evaluator) checkProtocolConnection(name string, c map[string]any, n *node) {
	switch name {
	case "Opcua":
		e.checkSecurity(c, n)
	case "Modbus":
		if c["scheme"] == "rtu" && c["serialPort"] == nil || c["serialPort"] != nil && c["scheme"] != "rtu" {
			e.error(n, "contradiction", "serialPort goes with scheme: rtu, host with every other", "connection.scheme and connection.serialPort do not fit together")
		}
	}
	if c["mutualAuthentication"] == true && (c["clientCert"] == nil || c["clientPrivateKey"] == nil) {
		e.error(n, "missing-property", "", "connection.mutualAuthentication needs clientCert and clientPrivateKey")
	}
	if (c["clientCert"] == nil) != (c["clientPrivateKey"] == nil) {
		e.error(n, "missing-property", "give both or neither", "connection.clientCert and connection.clientPrivateKey belong together")
	}
}

// checkSecurity refuses a link that would run open although the file names a protection.
func (e *evaluator) checkSecurity(c map[string]any, n *node) {
	mode, okMode := c["securityMode"].(string)
	policy, okPolicy := c["securityPolicy"].(string)
	if okMode && okPolicy && (mode == "None") != (policy == "None") {
		e.error(n, "contradiction", "give both securityMode and securityPolicy, or neither", fmt.Sprintf("connection.securityMode is %s, but connection.securityPolicy is %s", mode, policy))
	}
}

var (
	nodeID        = regexp.MustCompile(`^((ns=\d+|nsu=[^;]+);)?[isgb]=.+$`)
	readingCodes  = []string{"1", "2", "3", "4"}
	singleWrites  = []string{"5", "6"}
	modbusSingles = regexp.MustCompile(`^(raw|base64|boolean|u?int16.*)$`)
)

func (e *evaluator) checkProtocolAddress(name, op string, a map[string]any, n *node, path string) {
	switch name {
	case "Opcua":
		id := n.get("nodeId")
		if id != nil && id.kind == text && !nodeID.MatchString(id.text) {
			e.error(id, "wrong-format", "such as ns=2;s=Press.Temperature or ns=2;i=1001", fmt.Sprintf("%s.nodeId is %q, which is no node id", path, id.shown()))
		}
		if a["nodeType"] == "Method" && op != "write" {
			e.error(n, "not-allowed", "a write calls the method", fmt.Sprintf("%s.nodeType is Method, which cannot be %sd", path, strings.TrimSuffix(op, "e")))
		}
	case "Modbus":
		e.checkModbusAddress(op, a, n, path)
	case "Mqtt":
		topic := n.get("topic")
		if op == "write" && topic != nil && topic.kind == text {
			e.checkFormat("topic", topic, path+".topic")
		}
	}
	if a["interval"] != nil && a["cronExpression"] != nil {
		e.error(n.get("cronExpression"), "contradiction", "keep one of them", fmt.Sprintf("only one of %s.interval and %s.cronExpression may be given", path, path))
	}
}

func (e *evaluator) checkModbusAddress(op string, a map[string]any, n *node, path string) {
	fc, _ := a["fc"].(json.Number)
	if reads := slices.Contains(readingCodes, fc.String()); fc != "" && reads == (op == "write") {
		e.error(n.get("fc"), "not-allowed", "1 to 4 read; 5, 6, 15 and 16 write", fmt.Sprintf("%s.fc is %s", path, fc))
	}
	address, _ := a["address"].(json.Number)
	if address == "" {
		return
	}
	if compareNumber(address.String(), 30001) >= 0 && compareNumber(address.String(), 49999) <= 0 {
		e.warn(n.get("address"), "manual-address", "addresses count from 0: a manual's 40001 is fc 3, address 0; 30001 is fc 4, address 0", fmt.Sprintf("%s.address is %s, which looks like a number from a manual", path, address))
	}
	e.checkModbusLength(fc, a, n, path)
}

func (e *evaluator) checkModbusLength(fc json.Number, a map[string]any, n *node, path string) {
	start, _ := a["address"].(json.Number).Int64()
	length := int64(1)
	if l, ok := a["length"].(json.Number); ok {
		length, _ = l.Int64()
	}
	if start+length > 65536 {
		e.error(n, "out-of-range", "", fmt.Sprintf("%s goes past address 65535", path))
	}
	limit := map[string]int64{"5": 1, "6": 1, "15": 1968, "16": 123}[fc.String()]
	if limit > 0 && length > limit {
		e.error(n.get("length"), "out-of-range", "", fmt.Sprintf("%s.length is %d; function code %s writes at most %d", path, length, fc, limit))
	}
	dataType, _ := a["dataType"].(string)
	bits := slices.Contains([]string{"1", "2", "5", "15"}, fc.String())
	switch {
	case bits && !slices.Contains([]string{"raw", "base64", "boolean"}, dataType):
		e.error(n.get("dataType"), "contradiction", "use boolean", fmt.Sprintf("%s.dataType is %s, but function code %s is about single bits", path, dataType, fc))
	case slices.Contains(singleWrites, fc.String()) && !modbusSingles.MatchString(dataType):
		e.error(n.get("dataType"), "contradiction", "use fc: 16", fmt.Sprintf("%s.dataType is %s, but function code %s writes one register", path, dataType, fc))
	}
}
