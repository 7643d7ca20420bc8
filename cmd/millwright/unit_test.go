package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

func TestTypedValue(t *testing.T) {
	for text, want := range map[string]any{
		"":                     "",
		"a b":                  "a b",
		" a ":                  " a ",
		"a # b":                "a # b",
		"7":                    json.Number("7"),
		"-0.50":                json.Number("-0.50"),
		"1e3":                  json.Number("1e3"),
		"9007199254740993":     json.Number("9007199254740993"),
		"18446744073709551616": json.Number("18446744073709551616"),
		"007":                  "007",
		"0x1F":                 "0x1F",
		".5":                   ".5",
		".nan":                 ".nan",
		"true":                 true,
		"False":                false,
		"yes":                  "yes",
		"null":                 nil,
		"~":                    nil,
		"'7'":                  "7",
		`"a\tb"`:               "a\tb",
		"2026-11-22":           "2026-11-22",
		"[1, a]":               []any{json.Number("1"), "a"},
		"{a: {b: true}}":       map[string]any{"a": map[string]any{"b": true}},
		"{":                    "{",
		"a: b: c":              "a: b: c",
		"&x a":                 "&x a",
		"*x":                   "*x",
		"[&x a, *x]":           "[&x a, *x]",
		"!ref x":               "x",
		"opc.tcp://10.0.0.7:1": "opc.tcp://10.0.0.7:1",
	} {
		if got := typedValue(text); !reflect.DeepEqual(got, want) {
			t.Errorf("typedValue(%q) = %#v, want %#v", text, got, want)
		}
	}
}

func FuzzTypedValue(f *testing.F) {
	f.Add("{a: [1, 2.50, x]}")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := json.Marshal(typedValue(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestParametersOf(t *testing.T) {
	got, err := parametersOf("p", []byte("n: 9007199254740993\nlist: [1]\n"))
	want := map[string]any{"n": json.Number("9007199254740993"), "list": []any{json.Number("1")}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v", got, err)
	}
	for _, text := range []string{"", "7", "[a]", "a: &x 1\nb: *x", "a: [", "? {a: b}\n: c"} {
		if _, err := parametersOf("p", []byte(text)); spec.KindOf(err) != spec.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestExitCodes is the table of the one place that makes exit codes.
func TestExitCodes(t *testing.T) {
	invalid := spec.Errorf(spec.Invalid, "x")
	for code, errs := range map[int][]error{
		0: {nil},
		1: {errors.New("x"), spec.Errorf(spec.Conflict, "x"), spec.Errorf(spec.Unavailable, "x"), errInterrupted},
		2: {errChanges},
		3: {invalid, fmt.Errorf("y: %w", invalid), errors.Join(invalid, errors.New("z"))},
		4: {&refusedError{invalid}},
	} {
		for _, err := range errs {
			if got := exitCode(err); got != code {
				t.Errorf("exitCode(%v) = %d, want %d", err, got, code)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	var out bytes.Buffer
	s := &streams{err: &out}
	e := spec.Errorf(spec.Invalid, "cannot read it").WithHint("mend it")
	e.Diagnostics = []spec.Diagnostic{{Position: spec.Position{File: "a.yml", Line: 1, Column: 2}, Severity: spec.SeverityError, Message: "m", Hint: "h"}}
	explain(s, fmt.Errorf("first: %w", errors.Join(e, errors.New("second"))))
	want := "a.yml:1:2: error: m (h)\nmillwright: first: cannot read it; second\n  hint: mend it\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestPaint(t *testing.T) {
	text := "+ service/a: new\n    x: - y\nPlan: 1 to add\n"
	if got := paint(text, false); got != text {
		t.Errorf("without colour: %q", got)
	}
	if got := paint(text, true); got != "\x1b[32m+\x1b[0m service/a: new\n    x: - y\nPlan: 1 to add\n" {
		t.Errorf("with colour: %q", got)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\tb\r\n\x1b[0m\u009b ä"); got != "a\tb"+`\r\n\x1b[0m\x9b ä` {
		t.Errorf("got %q", got)
	}
}

// TestLogin runs against answers of an instance: the file keeps a token, never the password.
func TestLogin(t *testing.T) {
	var sent []string
	url := replyTo(t, func(method, path, authorization string, body map[string]any) any {
		sent = append(sent, method+" "+path+" "+authorization)
		switch path {
		case "/api/v1/login":
			if body["username"] != "line1" || body["password"] != "planted-4711" {
				t.Errorf("logged in with %v", body)
			}
			return spec.LoginReply{Token: "session"}
		case "/api/v1/tokens":
			return spec.TokenSecret{Token: "kept"}
		}
		return nil
	})
	config := filepath.Join(t.TempDir(), "config.yaml")
	t.Setenv("MILLWRIGHT_CONFIG", config)
	var out, errOut bytes.Buffer
	s := &streams{in: strings.NewReader("planted-4711\nmore"), out: &out, err: &errOut, getenv: os.Getenv}
	if code := run(t.Context(), []string{"login", "--url", url, "--username", "line1", "--context", "plant"}, s); code != 0 {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	want := []string{"POST /api/v1/login ", "POST /api/v1/tokens Bearer session", "POST /api/v1/logout Bearer session"}
	if !reflect.DeepEqual(sent, want) {
		t.Errorf("sent %q", sent)
	}
	all, _, err := client.LoadContexts(config)
	if err != nil || all.Current != "plant" || all.Contexts["plant"].Token != "kept" || all.Contexts["plant"].URL != url {
		t.Errorf("context file: %+v, %v", all, err)
	}
	text, err := os.ReadFile(config)
	if err != nil || strings.Contains(string(text)+out.String()+errOut.String(), "planted") {
		t.Errorf("the password was kept or printed (%v)", err)
	}
}

func TestLoginAsks(t *testing.T) {
	for name, args := range map[string][]string{
		"no user":     {"login", "--url", "http://127.0.0.1:1"},
		"no password": {"login", "--url", "http://127.0.0.1:1", "--username", "x"},
		"no file":     {"login", "--url", "http://127.0.0.1:1", "--username", "x", "--password-file", "absent"},
	} {
		var out bytes.Buffer
		s := &streams{in: strings.NewReader(""), out: &out, err: &out, getenv: func(string) string { return "" }}
		if code := run(t.Context(), args, s); code != exitInvalid {
			t.Errorf("%s: exit %d: %s", name, code, out.String())
		}
	}
}

// A question ends with Ctrl-C, though its read does not.
func TestAskInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	block := make(chan struct{})
	defer close(block)
	_, err := waitFor(ctx, func() (string, error) { <-block; return "", nil })
	if !errors.Is(err, context.Canceled) || exitCode(err) != exitError {
		t.Errorf("error is %v", err)
	}
}

func TestContextName(t *testing.T) {
	for address, want := range map[string]string{
		"https://gateway.example": "gateway.example", "http://127.0.0.1:8080": "127.0.0.1-8080", "https://[::1]:443/x": "1--443",
	} {
		if got := contextName(address); got != want {
			t.Errorf("contextName(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	s := &streams{err: &out}
	s.logger(&globalOptions{logFormat: "json"}, slog.LevelWarn).Info("hidden")
	s.logger(&globalOptions{logFormat: "json", verbose: true}, slog.LevelWarn).Debug("shown")
	if text := out.String(); strings.Contains(text, "hidden") || !strings.Contains(text, `"msg":"shown"`) {
		t.Errorf("got %s", text)
	}
}
