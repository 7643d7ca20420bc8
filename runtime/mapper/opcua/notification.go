package opcua

import (
	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// publishResponse is one message of a subscription.
type publishResponse struct {
	header
	subscription uint32
	sequence     uint32
	data         bool // it is no keep-alive
	values       []notification
	events       []eventNotification
	ended        ua.StatusCode // why the server ends the subscription, if it does
}

type notification struct {
	handle uint32
	value  dataValue
}

type eventNotification struct {
	handle uint32
	fields []variantValue
}

func (c *cursor) publishResponse(h *ua.ResponseHeader) (ua.Response, error) {
	r := &publishResponse{header: header{h}, subscription: c.u32()}
	for range c.count(4) {
		c.u32() // what could be sent again
	}
	c.u8() // whether more is waiting: it comes with the next
	r.sequence = c.u32()
	c.u64()
	for range c.count(4) {
		r.data = true
		kind := c.nodeID()
		mask := c.u8()
		if mask == ua.ExtensionObjectEmpty {
			continue
		}
		inner := &cursor{b: c.bytes(), err: c.err}
		r.take(kind, inner)
		if inner.err != nil {
			c.fail(inner.err)
		}
	}
	return r, c.end()
}

func (r *publishResponse) take(kind *ua.NodeID, c *cursor) {
	switch kind.IntID() {
	case id.DataChangeNotification_Encoding_DefaultBinary:
		n := c.count(5)
		r.values = make([]notification, 0, max(0, n))
		for range n {
			r.values = append(r.values, notification{c.u32(), c.dataValue()})
		}
	case id.EventNotificationList_Encoding_DefaultBinary:
		for range c.count(8) {
			r.events = append(r.events, c.event())
		}
	case id.StatusChangeNotification_Encoding_DefaultBinary:
		r.ended = ua.StatusCode(c.u32())
	}
}

func (c *cursor) event() eventNotification {
	n := eventNotification{handle: c.u32()}
	for range c.count(1) {
		n.fields = append(n.fields, c.variant())
	}
	return n
}
