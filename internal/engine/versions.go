package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// versions refuses an older version than the one that was applied, and to change an instance
// of a newer version than this program's unless its version is asked for.
func versions(p *Pass) []spec.Diagnostic {
	if p.actual.Spec == nil || p.Instance.AllowDowngrade {
		return nil
	}
	there := p.actual.Spec.Version
	switch {
	case older(p.Instance.Version, there):
		return []spec.Diagnostic{failure("downgrade",
			fmt.Sprintf("cannot go from version %s back to %s", there, p.Instance.Version),
			"allow_downgrade permits it; an older version may not be able to read the newer one's data")}
	case strings.HasSuffix(p.given.ImageReference(), ":") && older(p.program, there): // no version is given, nor a tag
		return []spec.Diagnostic{failure("newer-instance",
			fmt.Sprintf("the instance is of version %s, and this program of %s may not know how that is made", there, p.program),
			"use Millwright "+there+"; or give version: "+there+" to have this one change it")}
	}
	return nil
}

// older reports whether version a comes before b, as semantic versions do; what is no dotted
// number, or the version of a build that is no release, is neither older nor newer.
func older(a, b string) bool {
	x, preX, okX := parseVersion(a)
	y, preY, okY := parseVersion(b)
	if !okX || !okY {
		return false
	}
	if c := slices.Compare(x, y); c != 0 {
		return c < 0
	}
	return comparePre(preX, preY) < 0
}

// comparePre orders what follows the "-" of a version: nothing comes last.
func comparePre(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a)) // the empty one is the greater
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, errM := strconv.Atoi(x[i])
		n, errN := strconv.Atoi(y[i])
		c := strings.Compare(x[i], y[i])
		switch {
		case errM == nil && errN == nil:
			c = cmp.Compare(m, n)
		case errM == nil:
			c = -1 // numbers come before words
		case errN == nil:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// parseVersion reads "1.2.3", "v1.2.3-rc.1", "1.2.3+build".
func parseVersion(version string) (release []int, pre string, ok bool) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "+")
	version, pre, _ = strings.Cut(version, "-")
	development := true
	for _, part := range strings.Split(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, "", false
		}
		development = development && n == 0
		release = append(release, n)
	}
	for len(release) < 3 { // 1.2 is 1.2.0
		release = append(release, 0)
	}
	return release, pre, !development
}
