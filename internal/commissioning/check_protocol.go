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
		if c["trustAllCertificates"] == true {
			e.error(n.get("trustAllCertificates"), "not-allowed", "put the device's own certificate into caCert", "connection.trustAllCertificates cannot be true: over Modbus the device's certificate is always checked")
		}
		if c["scheme"] == "rtu" && c["serialPort"] == nil || c["serialPort"] != nil && c["scheme"] != "rtu" {
			e.error(n, "contradiction", "serialPort goes with scheme: rtu, host with every other", "connection.scheme and connection.serialPort do not fit together")
		}
	}
	if c["mutualAuthentication"] == true && (c["clientCert"] == nil || c["clientPrivateKey"] == nil) {
		e.error(n, "missing-property", "", "connection.mutualAuthentication needs clientCert and clientPrivateKey")
	}
	e.checkStrategy(c, n)
	if (c["clientCert"] == nil) != (c["clientPrivateKey"] == nil) {
		e.error(n, "missing-property", "give both or neither", "connection.clientCert and connection.clientPrivateKey belong together")
	}
}

// checkStrategy refuses pauses that could not grow; a default initialDelay gives way to maxDelay.
func (e *evaluator) checkStrategy(c map[string]any, n *node) {
	strategy, _ := c["connectionStrategy"].(map[string]any)
	first, okFirst := strategy["initialDelay"].(json.Number)
	longest, okLongest := strategy["maxDelay"].(json.Number)
	if !okFirst || !okLongest {
		return
	}
	if from, errFrom := first.Int64(); errFrom == nil {
		if to, errTo := longest.Int64(); errTo == nil && from > to {
			if n.get("connectionStrategy").get("initialDelay") == nil {
				strategy["initialDelay"] = longest
				return
			}
			e.error(n.get("connectionStrategy"), "contradiction", "give an initialDelay that is at most maxDelay", fmt.Sprintf("connection.connectionStrategy.initialDelay is %d, but maxDelay is %d", from, to))
		}
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
	writingCodes  = []string{"5", "6", "15", "16"}
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
		e.checkEvents(op, a, n, path)
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

// checkEvents refuses what makes no sense for a node's events.
func (e *evaluator) checkEvents(op string, a map[string]any, n *node, path string) {
	const valueAttribute, eventAttribute = json.Number("13"), json.Number("12")
	attribute, events := a["attributeId"], a["eventTypes"] != nil || a["fields"] != nil
	polled := a["interval"] != nil || a["cronExpression"] != nil
	switch {
	case op != "subscribe":
	case !events && !polled && attribute == eventAttribute:
		e.error(n.get("attributeId"), "contradiction", "for the node's events give eventTypes, such as [BaseEventType]", path+".attributeId 12 is no value that can be subscribed to")
	case events && polled:
		e.error(n, "contradiction", "remove interval and cronExpression, or eventTypes and fields", path+" cannot poll events")
	case events && (a["nodeType"] == "Method" || !n.get("deadband").absent()):
		e.error(n, "contradiction", "remove nodeType and deadband, or eventTypes and fields", path+" cannot take events of a method or with a deadband")
	case events && attribute != nil && attribute != valueAttribute && attribute != eventAttribute:
		e.error(n.get("attributeId"), "contradiction", "remove it", fmt.Sprintf("%s cannot take events from attributeId %s", path, attribute))
	}
}

func (e *evaluator) checkModbusAddress(op string, a map[string]any, n *node, path string) {
	fc, _ := a["fc"].(json.Number)
	reads, writes := slices.Contains(readingCodes, fc.String()), slices.Contains(writingCodes, fc.String())
	if reads && op == "write" || writes && op != "write" {
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
	dataType, _ := a["dataType"].(string)
	size := registersOf(dataType)
	length := size
	if l, ok := a["length"].(json.Number); ok {
		given, _ := l.Int64()
		length = max(given, size)
	}
	if length%size != 0 {
		e.error(n.get("length"), "out-of-range", fmt.Sprintf("leave it out for one value, or give a multiple of %d", size), fmt.Sprintf("%s.length is %d, but %s takes %d registers a value", path, length, dataType, size))
	}
	if start+length > 65536 {
		e.error(n, "out-of-range", "", fmt.Sprintf("%s goes past address 65535", path))
	}
	limit := map[string]int64{"5": 1, "6": 1, "15": 1968, "16": 123}[fc.String()]
	if limit > 0 && a["length"] != nil && length > limit {
		e.error(n.get("length"), "out-of-range", "", fmt.Sprintf("%s.length is %d; function code %s writes at most %d", path, length, fc, limit))
	}
	bits := slices.Contains([]string{"1", "2", "5", "15"}, fc.String())
	switch {
	case bits && !slices.Contains([]string{"raw", "base64", "boolean"}, dataType):
		e.error(n.get("dataType"), "contradiction", "use boolean", fmt.Sprintf("%s.dataType is %s, but function code %s is about single bits", path, dataType, fc))
	case slices.Contains(singleWrites, fc.String()) && !modbusSingles.MatchString(dataType):
		e.error(n.get("dataType"), "contradiction", "use fc: 16", fmt.Sprintf("%s.dataType is %s, but function code %s writes one register", path, dataType, fc))
	}
}

// registersOf is how many registers one value of a Modbus data type takes.
func registersOf(dataType string) int64 {
	switch {
	case strings.Contains(dataType, "int64"), strings.HasPrefix(dataType, "double"):
		return 4
	case strings.Contains(dataType, "int32"), strings.HasPrefix(dataType, "float"):
		return 2
	}
	return 1
}
