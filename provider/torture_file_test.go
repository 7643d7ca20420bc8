package provider_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// aFile is a random commissioning file.
type aFile struct {
	description string
	secret      bool // it has a secret parameter
	machines    []machine
	mappings    []mapping
}

type machine struct {
	name, protocol string
	endpoints      []endpoint
}

type endpoint struct {
	name, topic, rule string
	address           int
}

type mapping struct {
	name, from, to string
}

// tag is a value with one of the language's tags.
type tag struct{ name, text string }

func (s *scene) file() aFile {
	f := aFile{description: s.word(), secret: s.chance(40)}
	for n := range 1 + s.IntN(3) {
		m := machine{name: fmt.Sprint("machine", n), protocol: pick(s, "Mqtt", "Mqtt", "Modbus")}
		for range s.IntN(4) {
			m.endpoints = append(m.endpoints, s.endpoint())
		}
		f.machines = append(f.machines, m)
	}
	for range s.IntN(3) {
		s.addMapping(&f)
	}
	return f
}

func (s *scene) endpoint() endpoint {
	s.count++
	return endpoint{name: pick(s, "temp", "Ende", "x_") + fmt.Sprint(s.count), topic: s.topic(), rule: pick(s, "", "", "$", `{"v": value * 2}`), address: s.IntN(1000)}
}

func (s *scene) addMapping(f *aFile) {
	for _, m := range f.machines {
		if len(m.endpoints) > 0 {
			f.mappings = append(f.mappings, mapping{name: s.label("map"), from: pick(s, m.endpoints...).name, to: s.topic()})
			return
		}
	}
}

func (s *scene) changeFile(f *aFile) {
	m := &f.machines[s.IntN(len(f.machines))]
	switch s.IntN(5) {
	case 0:
		m.endpoints = append(slices.Clone(m.endpoints), s.endpoint())
	case 1:
		f.description = s.word()
	case 2:
		s.addMapping(f)
	case 3:
		f.mappings = nil
	default:
		if len(m.endpoints) > 0 {
			m.endpoints = slices.Clone(m.endpoints)
			e := &m.endpoints[s.IntN(len(m.endpoints))]
			e.topic, e.address = s.topic(), s.IntN(1000)
		}
	}
}

// write writes the file, in any order and quoting. It refers to the service with the id other.
func (s *scene) write(f aFile, other string) string {
	resources := map[string]any{"anchor": map[string]any{"type": "Cybus::Mapping", "properties": map[string]any{
		"mappings": []any{map[string]any{"subscribe": map[string]any{"topic": "anchor/in"}, "publish": map[string]any{"topic": tag{"sub", "${Cybus::MqttRoot}/anchor"}}}},
	}}}
	for _, m := range f.machines {
		s.writeMachine(f, m, resources)
	}
	for _, m := range f.mappings {
		resources[m.name] = map[string]any{"type": "Cybus::Mapping", "properties": map[string]any{"mappings": []any{map[string]any{
			"subscribe": map[string]any{"endpoint": tag{"ref", m.from}}, "publish": map[string]any{"topic": m.to},
		}}}}
	}
	if other != "" {
		resources["after"] = map[string]any{"type": "Cybus::Mapping", "dependsOn": []any{"anchor"}, "properties": map[string]any{"mappings": []any{map[string]any{
			"subscribe": map[string]any{"endpoint": tag{"ref", other + "::mark"}}, "publish": map[string]any{"topic": "after/" + other},
		}}}}
	}
	resources["marks"] = map[string]any{"type": "Cybus::Connection", "properties": map[string]any{
		"protocol": "Mqtt", "connection": map[string]any{"host": "127.0.0.1", "port": 1, "scheme": "mqtt"},
	}}
	resources["mark"] = map[string]any{"type": "Cybus::Endpoint", "properties": map[string]any{
		"protocol": "Mqtt", "connection": tag{"ref", "marks"}, "subscribe": map[string]any{"topic": "mark"},
	}}
	parameters := map[string]any{
		"line": map[string]any{"type": "string", "default": "one"}, "interval": map[string]any{"type": "integer", "default": 1000},
		"ratio": map[string]any{"type": "number", "default": 1.5}, "flag": map[string]any{"type": "boolean", "default": false},
	}
	if f.secret {
		parameters["password"] = map[string]any{"type": "string", "format": "password"}
	}
	top := map[string]any{"description": f.description, "metadata": map[string]any{"name": f.description, "version": "1"}, "parameters": parameters, "resources": resources}
	return "# " + pick(s, "a comment", "Ünïcode", "") + "\n" + s.yaml(top, 0)
}

func (s *scene) writeMachine(f aFile, m machine, resources map[string]any) {
	connection := map[string]any{"host": "127.0.0.1", "port": 1}
	if m.protocol == "Mqtt" {
		connection["scheme"], connection["username"], connection["password"] = "mqtt", "u", "in-the-clear"
		if f.secret {
			connection["password"] = tag{"ref", "password"}
		}
	}
	resources[m.name] = map[string]any{"type": "Cybus::Connection", "properties": map[string]any{"protocol": m.protocol, "connection": connection}}
	for _, e := range m.endpoints {
		subscribe := map[string]any{"topic": tag{"sub", "${line}/" + e.name}}
		if m.protocol == "Modbus" {
			subscribe = map[string]any{"fc": 3, "address": e.address, "dataType": "uint16BE", "interval": tag{"ref", "interval"}}
		}
		properties := map[string]any{"protocol": m.protocol, "connection": tag{"ref", m.name}, "subscribe": subscribe, "topic": e.topic}
		if e.rule != "" {
			properties["rules"] = []any{map[string]any{"transform": map[string]any{"expression": e.rule}}}
		}
		resources[e.name] = map[string]any{"type": "Cybus::Endpoint", "properties": properties}
	}
}

// yaml writes a value in one of the many ways.
func (s *scene) yaml(v any, depth int) string {
	indent := strings.Repeat("  ", depth)
	switch x := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(x))
		s.Shuffle(len(keys), func(a, b int) { keys[a], keys[b] = keys[b], keys[a] })
		var out strings.Builder
		for _, key := range keys {
			if s.chance(5) {
				out.WriteString(indent + "# about " + key + "\n")
			}
			out.WriteString(indent + s.quoted(key) + ":")
			if _, plain := x[key].(map[string]any); plain {
				out.WriteString("\n" + s.yaml(x[key], depth+1))
			} else if _, plain := x[key].([]any); plain {
				out.WriteString("\n" + s.yaml(x[key], depth))
			} else {
				out.WriteString(" " + s.yaml(x[key], depth) + "\n")
			}
		}
		return out.String()
	case []any:
		var out strings.Builder
		for _, e := range x {
			if text, ok := e.(string); ok {
				out.WriteString(indent + "- " + s.quoted(text) + "\n")
				continue
			}
			out.WriteString(indent + "- " + strings.TrimPrefix(s.yaml(e, depth+1), indent+"  "))
		}
		return out.String()
	case tag:
		return "!" + x.name + " '" + x.text + "'"
	case string:
		return s.quoted(x)
	}
	text, err := json.Marshal(v)
	must(err)
	return string(text)
}

func (s *scene) quoted(text string) string {
	if s.chance(50) {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(s.chance(50))
	must(encoder.Encode(text))
	return strings.TrimSuffix(out.String(), "\n")
}
