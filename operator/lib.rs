//! The Kubernetes operator: it turns objects of `ekitei.dev` into DNS records, certificates and MX replicas.
