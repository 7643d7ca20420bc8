package commissioning

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// canonicalNumber turns a YAML number into JSON: integers in any base keep all their digits,
// everything else is a float64. It fails for infinities and what is no number.
func canonicalNumber(s string) (string, bool) {
	plain := strings.ReplaceAll(s, "_", "")
	if len(plain) > maxDigits {
		return "", false
	}
	if i, ok := new(big.Int).SetString(strings.TrimPrefix(plain, "+"), 0); ok {
		return i.String(), true
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return "", false
	}
	return formatFloat(f), true
}

// formatFloat writes a finite number as short as it reads back, whole ones without a fraction.
func formatFloat(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// isInteger reports whether a canonical number has no fraction.
func isInteger(digits string) bool { return !strings.ContainsAny(digits, ".eE") }

// compareNumber compares a canonical number with a bound.
func compareNumber(digits string, bound float64) int {
	exact, ok := new(big.Float).SetPrec(2048).SetString(digits)
	if !ok {
		return 0
	}
	return exact.Cmp(big.NewFloat(bound))
}
