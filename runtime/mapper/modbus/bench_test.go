package modbus

import (
	"fmt"
	"testing"
)

// BenchmarkRead1000 reads 1,000 registers, each a point of its own, from the simulator.
func BenchmarkRead1000(b *testing.B) {
	p := plant(b, 1000)
	c := connect(b, p.Modbus(), nil)
	var addresses []string
	for i := range 1000 {
		addresses = append(addresses, fmt.Sprintf("1/3/%d/uint16BE", 1000+i))
	}
	asked := points(b, c, addresses...)
	s := dial(b, c)
	for b.Loop() {
		for _, r := range s.Read(b.Context(), asked) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "values/s")
}
