package spec

import "testing"

func TestCheckName(t *testing.T) {
	for name, fine := range map[string]bool{
		"line1": true, "a.b@c_d-E": true, "...": true, "-": true, "": false, ".": false, "..": false, "a b": false, "a/b": false, "ä": false, "service:x": false,
	} {
		if err := CheckName("user", name); (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}
