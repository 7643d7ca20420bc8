package ansible

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const pythonHead = `# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Made from the schema in internal/ansible by ` + "`make generate`" + `; do not edit.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

`

// The names of the documentation fragments.
const (
	fragmentConnection = "connection"
	fragmentChange     = "change"
)

// Stub renders the module's Python file, which holds its documentation and no code.
func (m *Module) Stub() (string, error) {
	documentation, err := m.documentation()
	if err != nil {
		return "", err
	}
	returns, err := m.returns()
	if err != nil {
		return "", err
	}
	return "#!/usr/bin/python\n" + pythonHead +
		"DOCUMENTATION = r\"\"\"\n" + documentation + "\"\"\"\n\n" +
		"EXAMPLES = r\"\"\"\n" + m.Examples + "\"\"\"\n\n" +
		"RETURN = r\"\"\"\n" + returns + "\"\"\"\n", nil
}

// Fragments renders the documentation that modules share: Python files, by name.
func Fragments() (map[string]string, error) {
	files := map[string]string{}
	for name, options := range map[string][]Option{fragmentConnection: connectionOptions(), fragmentChange: changeOptions()} {
		text, err := yamlText(mapping("options", optionDocs(options)))
		if err != nil {
			return nil, err
		}
		files[name] = pythonHead + "\nclass ModuleDocFragment(object):\n    DOCUMENTATION = r\"\"\"\n" + text + "\"\"\"\n"
	}
	return files, nil
}

func (m *Module) documentation() (string, error) {
	n := mapping(
		"module", m.Name, "short_description", m.Short, "version_added", "0.1.0",
		"author", []string{"The Millwright authors (@millwright)"}, "description", m.Description,
	)
	add(n, "options", optionDocs(m.Options))
	check := "It says what it would change, from the same plan that it applies."
	if m.ReadOnly {
		check = "It changes nothing."
	}
	support := func(level, description string) *yaml.Node {
		return mapping("support", level, "description", description)
	}
	add(n, "attributes", mapping(
		"check_mode", support("full", check),
		"diff_mode", support(diffSupport(m.ReadOnly)),
	))
	if len(m.Notes) > 0 {
		add(n, "notes", m.Notes)
	}
	also := &yaml.Node{Kind: yaml.SequenceNode}
	for _, name := range m.SeeAlso {
		also.Content = append(also.Content, mapping("module", Collection+"."+name))
	}
	add(n, "seealso", also)
	if m.Connection {
		fragments := []string{Collection + "." + fragmentConnection}
		if !m.ReadOnly {
			fragments = append(fragments, Collection+"."+fragmentChange)
		}
		add(n, "extends_documentation_fragment", fragments)
	}
	return yamlText(n)
}

func diffSupport(readOnly bool) (level, description string) {
	if readOnly {
		return "none", "It changes nothing."
	}
	return "full", "Secrets are shown as changed, never as they are."
}

// optionDocs documents options.
func optionDocs(options []Option) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, o := range options {
		d := mapping("description", o.Doc, "type", string(o.Type))
		if o.Elements != "" {
			add(d, "elements", string(o.Elements))
		}
		if o.Required {
			add(d, "required", true)
		}
		if o.Default != nil {
			add(d, "default", o.Default)
		}
		if len(o.Choices) > 0 {
			add(d, "choices", o.Choices)
		}
		if len(o.Aliases) > 0 {
			add(d, "aliases", o.Aliases)
		}
		if len(o.Options) > 0 {
			add(d, "suboptions", optionDocs(o.Options))
		}
		add(n, o.Name, d)
	}
	return n
}

// returns documents what every module returns and what this one adds.
func (m *Module) returns() (string, error) {
	all := m.Returns
	if !m.ReadOnly {
		all = append(slices.Clone(all), Return{
			Name: "plan", Type: Dict, Returned: "success", Doc: "What was changed, or in check mode would be: a summary, what it disturbs most, and the steps with their causes.",
			Sample: map[string]any{"summary": "No changes.", "disturbs": "none", "steps": []any{}},
		})
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, r := range all {
		d := mapping("description", r.Doc, "returned", r.Returned, "type", string(r.Type))
		if r.Elements != "" {
			add(d, "elements", string(r.Elements))
		}
		if r.Sample != nil {
			add(d, "sample", r.Sample)
		}
		add(n, r.Name, d)
	}
	return yamlText(n)
}

// mapping makes a YAML map of names and values, in their order.
func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		add(n, fmt.Sprint(pairs[i]), pairs[i+1])
	}
	return n
}

func add(n *yaml.Node, name string, v any) {
	value, ok := v.(*yaml.Node)
	if !ok {
		value = &yaml.Node{}
		if err := value.Encode(v); err != nil {
			value.SetString(fmt.Sprint(v))
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
}

func yamlText(n *yaml.Node) (string, error) {
	if len(n.Content) == 0 {
		return "{}\n", nil
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return "", fmt.Errorf("cannot render the documentation: %w", err)
	}
	return "---\n" + strings.TrimPrefix(b.String(), "---\n"), nil
}
