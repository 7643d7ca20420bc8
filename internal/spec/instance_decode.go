package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
)

// unknownField finds the name in encoding/json's message.
var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// DecodeInstance makes an instance of options as a file has them. An option that there is not,
// or whose value is of another type, is refused by its name.
func DecodeInstance(options map[string]any) (Instance, error) {
	text, err := json.Marshal(options)
	if err != nil {
		return Instance{}, Errorf(Invalid, "cannot read the instance's options: %w", err)
	}
	var i Instance
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&i)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return i, i.Check()
	case errors.As(err, &wrong):
		return Instance{}, Errorf(Invalid, "cannot use the instance's option %q: it is a %s, not a %s", wrong.Field, wrong.Type, wrong.Value)
	}
	if name := unknownField.FindStringSubmatch(err.Error()); name != nil {
		return Instance{}, Errorf(Invalid, "cannot use the instance's option %q: there is none of that name", name[1])
	}
	return Instance{}, Errorf(Invalid, "cannot read the instance's options: %w", err)
}
