resource "google_container_node_pool" "slice" {
  count = var.slices

  project        = var.project
  cluster        = var.cluster
  location       = var.location
  node_locations = [var.zone]
  name           = "${var.name}-${count.index}"

  # A slice is whole or absent: the autoscaler goes from none to all hosts and back.
  initial_node_count = var.autoscale ? 0 : null
  node_count         = var.autoscale ? null : var.hosts

  dynamic "autoscaling" {
    for_each = var.autoscale ? [true] : []
    content {
      min_node_count = 0
      max_node_count = var.hosts
    }
  }

  dynamic "placement_policy" {
    for_each = var.topology == null ? [] : [var.topology]
    content {
      type         = "COMPACT"
      tpu_topology = placement_policy.value
    }
  }

  node_config {
    machine_type    = var.machine_type
    spot            = var.spot
    service_account = var.service_account
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]

    # Workload Identity: without it pods would act as the nodes' account.
    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    dynamic "reservation_affinity" {
      for_each = var.reservation == null ? [] : [var.reservation]
      content {
        consume_reservation_type = "SPECIFIC_RESERVATION"
        key                      = "compute.googleapis.com/reservation-name"
        values                   = [reservation_affinity.value]
      }
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  lifecycle {
    precondition {
      condition     = !(var.spot && var.reservation != null)
      error_message = "spot and reservation exclude each other."
    }
  }
}
