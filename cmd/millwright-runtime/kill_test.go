package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// inHand is how many values a killed mapper may lose: those it has read and not handed over. An
// endpoint hands them over one by one, and each is acknowledged, or on disk, before the next.
const inHand = 3

// gaps are the values that did not come, as the first and the number of each run of them.
func (v *values) gaps() (runs [][2]int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := 1; i < len(v.got); i++ {
		if missing := v.got[i] - v.got[i-1] - 1; missing != 0 {
			runs = append(runs, [2]int{v.got[i-1] + 1, missing})
		}
	}
	return runs
}

// lost checks that values are missing only where the mapper was killed, and few.
func (v *values) lost(kills int) {
	v.Helper()
	runs := v.gaps()
	if len(runs) > kills {
		v.Errorf("%d kills, and values are missing at %d places: %v", kills, len(runs), runs)
	}
	for _, run := range runs {
		if run[1] < 0 || run[1] > inHand {
			v.Errorf("from value %d on %d are missing", run[0], run[1])
		}
	}
	v.Logf("lost in %d kills, first value and number: %v", kills, runs)
}

// queued is how many messages wait on the mapper's disk, as it last reported.
func (b *browser) queued(token string) int {
	text, err := b.get(token, "/metrics")
	found := regexp.MustCompile(`(?m)^millwright_bus_queued_messages\{agent="protocol-mapper"\} (\d+)$`).FindStringSubmatch(text)
	if err != nil || found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// TestEndToEndMapperKilled: of a mapper that is killed only what it had in hand is lost; what waited
// on its disk arrives, in order, and what came for its mappings meanwhile is mapped.
func TestEndToEndMapperKilled(t *testing.T) {
	p := newPlant(t)
	p.install()
	b, token := p.browse(), strings.TrimSpace(p.read("admin-token"))
	direct := p.subscribe("services/press/reads")
	direct.reach(p.device.more(10))

	p.mapper.kill()
	p.mapper.start()
	direct.reach(p.device.more(10))

	p.broker.kill()
	queued := 0
	until(t, "values wait on the mapper's disk", func() error {
		if queued = b.queued(token); queued < 40 {
			return fmt.Errorf("there are %d", queued)
		}
		return nil
	})
	p.mapper.kill()
	p.mapper.start()
	more := p.device.more(20)
	until(t, "the device is read on", func() error {
		if p.device.more(0) < more {
			return fmt.Errorf("%d reads", p.device.more(0))
		}
		return nil
	})
	p.broker.start()
	direct.reach(p.device.more(10))
	direct.lost(2)
}

// TestEndToEndMappingsWait: what comes at QoS 1 for a killed mapper's mapping waits in the broker.
func TestEndToEndMappingsWait(t *testing.T) {
	p := newPlant(t)
	p.install()
	mapped := p.subscribe("services/press/copy")
	mapped.reach(p.device.more(1))
	writer := p.login("writer", nil)

	p.mapper.kill()
	const first, count = 1_000_000, 25
	var want []int
	for n := range count {
		want = append(want, first+n)
		payload := fmt.Sprintf(`{"timestamp": %d, "value": %d}`, time.Now().UnixMilli(), first+n)
		if _, err := writer.Publish(t.Context(), &paho.Publish{Topic: "services/press/reads", QoS: 1, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	p.mapper.start()
	until(t, "they are mapped", func() error {
		mapped.mu.Lock()
		defer mapped.mu.Unlock()
		var got []int
		for _, value := range mapped.got {
			if value >= first {
				got = append(got, value)
			}
		}
		if !slices.Equal(slices.Compact(got), want) {
			return fmt.Errorf("%d came", len(got))
		}
		return nil
	})
}
