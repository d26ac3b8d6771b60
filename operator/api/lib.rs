//! The objects of `ekitei.dev/v1alpha1`.
