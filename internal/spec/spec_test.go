package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	granted := []Permission{
		{"plant/#", Read, MQTT},
		{"plant/line1/set", Write, MQTT},
		{"/api/v1/services/+", ReadWrite, HTTP},
	}
	for _, c := range []struct {
		context  Context
		op       Operation
		resource string
		want     bool
	}{
		{MQTT, Read, "plant/a", true},
		{MQTT, Write, "plant/a", false},
		{MQTT, Write, "plant/line1/set", true},
		{MQTT, ReadWrite, "plant/line1/set", true},
		{MQTT, Read, "#", false},
		{HTTP, Read, "plant/a", false},
		{HTTP, Write, "/api/v1/services/press", true},
		{HTTP, Write, "api/v1/services/press", true},
		{HTTP, Write, "/api/v1/services", false},
	} {
		if got := Allows(granted, c.context, c.op, c.resource); got != c.want {
			t.Errorf("Allows(%s, %s, %q) = %v", c.context, c.op, c.resource, got)
		}
	}
}

func TestChecks(t *testing.T) {
	short := "1234"
	for name, err := range map[string]error{
		"colon in a name":     User{Username: "service:x"}.Check(),
		"no name":             Role{}.Check(),
		"name of 65":          Role{Name: strings.Repeat("a", 65)}.Check(),
		"short password":      User{Username: "u", Password: &short}.Check(),
		"unknown grant":       User{Username: "u", Grants: []Grant{"smile"}}.Check(),
		"unknown state":       User{Username: "u", State: Enabled}.Check(),
		"unknown operation":   Role{Name: "r", Permissions: []Permission{{"a", "eat", MQTT}}}.Check(),
		"filter":              Role{Name: "r", Permissions: []Permission{{"a#", Read, MQTT}}}.Check(),
		"service id":          Service{ID: "-a"}.Check(),
		"service state":       Service{ID: "a", State: "gone"}.Check(),
		"when to set":         User{Username: "u", UpdatePassword: "never"}.Check(),
		"context of a grant":  Role{Name: "r", Permissions: []Permission{{"a", Read, "smtp"}}}.Check(),
		"role that is active": Role{Name: "r", State: Enabled}.Check(),
	} {
		if KindOf(err) != Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	good := "12345"
	for name, err := range map[string]error{
		"user":    User{Username: "a.b@c-d_E", Password: &good, Grants: []Grant{GrantPassword}}.Check(),
		"role":    Role{Name: "r", Permissions: []Permission{{"/api/#", ReadWrite, HTTP}}}.Check(),
		"service": Service{ID: "a.b_C", State: Restarted}.Check(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A list that is not given keeps what is there; an empty one empties it. JSON must tell them apart.
func TestGivenAndEmptyListsDiffer(t *testing.T) {
	for text, given := range map[string]bool{`{"username":"u"}`: false, `{"username":"u","roles":[]}`: true} {
		var u User
		if err := json.Unmarshal([]byte(text), &u); err != nil {
			t.Fatal(err)
		}
		if (u.Roles != nil) != given {
			t.Errorf("%s: roles given = %v", text, u.Roles != nil)
		}
		if out, err := json.Marshal(u); err != nil || string(out) != text {
			t.Errorf("%s came back as %s (%v)", text, out, err)
		}
	}
}

func TestErrorKeepsCauseAndKind(t *testing.T) {
	err := error(Errorf(Unavailable, "cannot read: %w", io.EOF).WithHint("try again in %d s", 5))
	wrapped := fmt.Errorf("outer: %w", err)
	if !errors.Is(wrapped, io.EOF) || KindOf(wrapped) != Unavailable || err.Error() != "cannot read: EOF" {
		t.Errorf("got %v, %s", wrapped, KindOf(wrapped))
	}
	if KindOf(io.EOF) != Internal || KindOf(nil) != "" {
		t.Error("an error without a kind is internal; no error has none")
	}
}

func TestDiagnosticString(t *testing.T) {
	d := Diagnostic{Position{"a.yml", 3, 7, 3, 9}, SeverityError, "unknown-reference", "cannot find \"plcc\"", "did you mean \"plc\"?"}
	if got, want := d.String(), `a.yml:3:7: error: cannot find "plcc" (did you mean "plc"?)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDiagnosticWithoutPlace(t *testing.T) {
	for want, d := range map[string]Diagnostic{
		"warning: w":               {Severity: SeverityWarning, Message: "w"},
		"3:7: warning: w":          {Position: Position{Line: 3, Column: 7}, Severity: SeverityWarning, Message: "w"},
		"service/p: warning: w":    {Position: Position{File: "service/p"}, Severity: SeverityWarning, Message: "w"},
		"a.yml:3:7: warning: w":    {Position: Position{File: "a.yml", Line: 3, Column: 7}, Severity: SeverityWarning, Message: "w"},
		"a.yml: error: w (a hint)": {Position: Position{File: "a.yml"}, Severity: SeverityError, Message: "w", Hint: "a hint"},
	} {
		if d.String() != want {
			t.Errorf("%+v prints as %q, not %q", d, d.String(), want)
		}
	}
}
