// What Argo CD makes of an object: its own comparison, and what its next sync would send, from files alone.
//
//	argocd-compare OPENAPI < {"ignore": [...], "pairs": [{"target": {...}, "live": {...}}]}
//
// OPENAPI is a file with the cluster's /openapi/v2. An application with ServerSideApply=true is compared by a
// structured merge, as controller/state.go sets it up; `sync` is the target under RespectIgnoreDifferences=true, as
// normalizeTargetResources in controller/sync.go has it for kinds that Kubernetes itself does not know.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/gitops-engine/pkg/diff"
	jsonpatch "github.com/evanphx/json-patch"
	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/util/proto"
)

type question struct {
	Ignore []v1alpha1.ResourceIgnoreDifferences `json:"ignore"`
	Pairs  []struct {
		Target *unstructured.Unstructured `json:"target"`
		Live   *unstructured.Unstructured `json:"live"`
	} `json:"pairs"`
}

type answer struct {
	OutOfSync bool            `json:"out_of_sync"`
	Live      json.RawMessage `json:"live"`
	Predicted json.RawMessage `json:"predicted"`
	Sync      json.RawMessage `json:"sync"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(openapi string) error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	parser, err := kinds(openapi)
	if err != nil {
		return err
	}
	normalizer, err := normalizers.NewIgnoreNormalizer(asked.Ignore, nil, normalizers.IgnoreNormalizerOpts{})
	if err != nil {
		return err
	}
	answers := []answer{}
	for _, pair := range asked.Pairs {
		found, err := diff.Diff(pair.Target, pair.Live,
			diff.WithNormalizer(normalizer), diff.WithStructuredMergeDiff(true),
			diff.WithGVKParser(parser), diff.WithManager(common.ArgoCDSSAManager))
		if err != nil {
			return err
		}
		sent, err := synced(pair.Target, pair.Live, normalizer)
		if err != nil {
			return err
		}
		answers = append(answers, answer{found.Modified, found.NormalizedLive, found.PredictedLive, sent})
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func kinds(path string) (*managedfields.GvkParser, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	document, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return nil, err
	}
	models, err := proto.NewOpenAPIData(document)
	if err != nil {
		return nil, err
	}
	return managedfields.NewGVKParser(models, false)
}

func synced(target, live *unstructured.Unstructured, normalizer diff.Normalizer) ([]byte, error) {
	wanted, there := target.DeepCopy(), live.DeepCopy()
	if err := errors.Join(normalizer.Normalize(wanted), normalizer.Normalize(there)); err != nil {
		return nil, err
	}
	whole, err := live.MarshalJSON()
	if err != nil {
		return nil, err
	}
	without, err := there.MarshalJSON()
	if err != nil {
		return nil, err
	}
	ignored, err := jsonpatch.CreateMergePatch(without, whole)
	if err != nil {
		return nil, err
	}
	text, err := wanted.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return jsonpatch.MergePatch(text, ignored)
}
