// Package provider is the Terraform provider millwright/millwright. It holds no opinion of its
// own about desired state: every plan is the server's, asked for in ModifyPlan, so that a wrong
// file or a missing permission fails before anything is done. What Terraform needs besides
// (which values are known when, what a state holds) is all that is decided here.
//
// Each noun has a file for its resource and one for its data source. A plant is one instance
// that the provider reaches; all resources of a plant share one client and one reading of its lists.
package provider
