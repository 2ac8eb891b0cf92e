package v1_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestControllingJob(t *testing.T) {
	yes, no := true, false
	for name, test := range map[string]struct {
		owner metav1.OwnerReference
		want  string
	}{
		"a job of kubernetes' own":            {metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "load", Controller: &yes}, "load"},
		"one of a version to come":            {metav1.OwnerReference{APIVersion: "batch/v2", Kind: "Job", Name: "load", Controller: &yes}, "load"},
		"a job of another group":              {metav1.OwnerReference{APIVersion: "batch.volcano.sh/v1alpha1", Kind: "Job", Name: "load", Controller: &yes}, ""},
		"a job of the core group":             {metav1.OwnerReference{APIVersion: "v1", Kind: "Job", Name: "load", Controller: &yes}, ""},
		"a job without an apiVersion":         {metav1.OwnerReference{Kind: "Job", Name: "load", Controller: &yes}, ""},
		"a job whose apiVersion is none":      {metav1.OwnerReference{APIVersion: "batch/v1/x", Kind: "Job", Name: "load", Controller: &yes}, ""},
		"a cron job":                          {metav1.OwnerReference{APIVersion: "batch/v1", Kind: "CronJob", Name: "load", Controller: &yes}, ""},
		"a job that owns and doesn't control": {metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: "load", Controller: &no}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if job := konductorv1.ControllingJob(&metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{test.owner}}); job != nil {
				got = job.Name
			}
			if got != test.want {
				t.Errorf("the job is %q, want %q", got, test.want)
			}
		})
	}
}
