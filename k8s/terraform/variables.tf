variable "project" {
  description = "Google Cloud project."
  type        = string
}

variable "cluster" {
  description = "Name of a GKE cluster with Workload Identity."
  type        = string
}

variable "location" {
  description = "Region or zone of the cluster."
  type        = string
}

variable "zone" {
  description = "Zone of the nodes. TPU v4 is in us-central2-b."
  type        = string
}

variable "name" {
  description = "Pools are called NAME-0, NAME-1, ..."
  type        = string
  default     = "v4-32"
}

variable "slices" {
  description = "How many slices; each is a node pool of its own."
  type        = number
  default     = 1
  validation {
    condition     = var.slices >= 0 && floor(var.slices) == var.slices
    error_message = "slices is a whole number."
  }
}

variable "machine_type" {
  description = "TPU machine type."
  type        = string
  default     = "ct4p-hightpu-4t"
}

variable "topology" {
  description = "Chips of a slice along each axis; null for machines that are a slice by themselves."
  type        = string
  default     = "2x2x4"
}

variable "hosts" {
  description = "Hosts of a slice: its chips divided by the chips of a machine."
  type        = number
  default     = 4
}

variable "spot" {
  description = "Spot VMs: cheaper, and may be taken away at any time."
  type        = bool
  default     = false
}

variable "reservation" {
  description = "Reservation to use, or projects/P/reservations/R for one of another project. Excludes spot."
  type        = string
  default     = null
}

variable "autoscale" {
  description = "Let the cluster's autoscaler make and remove slices, from none on."
  type        = bool
  default     = false
}

variable "service_account" {
  description = "Google service account of the nodes; null is the project's default one."
  type        = string
  default     = null
}
