package simulator

import (
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// services are those that the library's server lacks or gets wrong: it reuses the ids of
// subscriptions that live, dies of an unknown monitored item, and knows no methods. Its
// handlers run one after the other, in one goroutine.
type services struct {
	server *server.Server
	space  *space
	subs   *subscriptions
}

// register puts them in place of the library's; it must come before the server's start.
func (s services) register() {
	for request, handler := range map[uint16]server.Handler{
		id.GetEndpointsRequest_Encoding_DefaultBinary:                  handler(s.endpoints),
		id.CreateSubscriptionRequest_Encoding_DefaultBinary:            handler(s.subs.create),
		id.ModifySubscriptionRequest_Encoding_DefaultBinary:            handler(s.subs.modify),
		id.DeleteSubscriptionsRequest_Encoding_DefaultBinary:           handler(s.subs.remove),
		id.PublishRequest_Encoding_DefaultBinary:                       s.subs.publish,
		id.CreateMonitoredItemsRequest_Encoding_DefaultBinary:          handler(s.subs.monitor),
		id.DeleteMonitoredItemsRequest_Encoding_DefaultBinary:          handler(s.subs.unmonitor),
		id.CallRequest_Encoding_DefaultBinary:                          handler(s.call),
		id.TranslateBrowsePathsToNodeIDsRequest_Encoding_DefaultBinary: handler(s.translate),
	} {
		s.server.RegisterHandler(request, handler)
	}
}

// handler adapts a service to the library: it names the request's type and needs no request id.
func handler[T ua.Request](serve func(*uasc.SecureChannel, T) (ua.Response, error)) server.Handler {
	return func(channel *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		request, ok := r.(T)
		if !ok {
			return nil, ua.StatusBadRequestTypeInvalid
		}
		return serve(channel, request)
	}
}

func answered(request *ua.RequestHeader) *ua.ResponseHeader {
	return &ua.ResponseHeader{
		Timestamp: time.Now(), RequestHandle: request.RequestHandle,
		ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil),
	}
}

func refused(request *ua.RequestHeader, status ua.StatusCode) *ua.ResponseHeader {
	h := answered(request)
	h.ServiceResult = status
	return h
}

// endpoints announces the address that the client used, not the one behind the fronts, which is
// all that the library's server would answer for.
func (s services) endpoints(_ *uasc.SecureChannel, r *ua.GetEndpointsRequest) (ua.Response, error) {
	response := &ua.GetEndpointsResponse{ResponseHeader: answered(r.RequestHeader)}
	for _, e := range s.server.Endpoints() {
		announced := *e
		announced.EndpointURL = r.EndpointURL
		response.Endpoints = append(response.Endpoints, &announced)
	}
	return response, nil
}

func (s services) call(_ *uasc.SecureChannel, r *ua.CallRequest) (ua.Response, error) {
	response := &ua.CallResponse{ResponseHeader: answered(r.RequestHeader)}
	for _, call := range r.MethodsToCall {
		response.Results = append(response.Results, s.callOne(call))
	}
	return response, nil
}

func (s services) callOne(call *ua.CallMethodRequest) *ua.CallMethodResult {
	method := s.space.find(call.MethodID)
	switch {
	case method == nil || method.call == nil:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadMethodInvalid}
	case call.ObjectID.String() != method.parent.nodeID().String():
		return &ua.CallMethodResult{StatusCode: ua.StatusBadNodeIDUnknown}
	case len(call.InputArguments) > 0:
		return &ua.CallMethodResult{StatusCode: ua.StatusBadTooManyArguments}
	}
	return &ua.CallMethodResult{OutputArguments: method.call()}
}

func (s services) translate(_ *uasc.SecureChannel, r *ua.TranslateBrowsePathsToNodeIDsRequest) (ua.Response, error) {
	response := &ua.TranslateBrowsePathsToNodeIDsResponse{ResponseHeader: answered(r.RequestHeader)}
	for _, path := range r.BrowsePaths {
		response.Results = append(response.Results, s.follow(path))
	}
	return response, nil
}

// follow walks a browse path, one browse for each name.
func (s services) follow(path *ua.BrowsePath) *ua.BrowsePathResult {
	at := ua.NewExpandedNodeID(path.StartingNode, "", 0)
	for _, element := range path.RelativePath.Elements {
		if at = s.child(at.NodeID, element); at == nil {
			return &ua.BrowsePathResult{StatusCode: ua.StatusBadNoMatch}
		}
	}
	return &ua.BrowsePathResult{Targets: []*ua.BrowsePathTarget{{TargetID: at, RemainingPathIndex: 0xffffffff}}}
}

func (s services) child(of *ua.NodeID, element *ua.RelativePathElement) *ua.ExpandedNodeID {
	ns, err := s.server.Namespace(int(of.Namespace()))
	if err != nil {
		return nil
	}
	found := ns.Browse(&ua.BrowseDescription{
		NodeID: of, BrowseDirection: ua.BrowseDirectionForward,
		ReferenceTypeID: element.ReferenceTypeID, IncludeSubtypes: element.IncludeSubtypes,
	})
	for _, r := range found.References {
		if r.BrowseName.Name == element.TargetName.Name && r.BrowseName.NamespaceIndex == element.TargetName.NamespaceIndex {
			return r.NodeID
		}
	}
	return nil
}
