#include "rerank.h"

#include <math.h>

#include <algorithm>

#include "delta.h"
#include "index.h"
#include "sort.h"
#include "status.h"

namespace {
constexpr float kReach = 0.75f;  // of the depth: the ranks over which a candidate's weight falls by e
}

void Rerank::begin(const DistanceQuery& query, std::span<const Candidate> candidates, uint32_t depth, uint32_t max_pages) {
  query_ = &query;
  max_pages_ = max_pages;
  hits_.clear();
  pending_.clear();
  asked_.clear();
  distances_ = pages_hit_ = 0;
  const float reach = kReach * static_cast<float>(std::max(depth, 1u));
  const bool all = candidates.size() <= depth;
  if (!all || max_pages) weigh_pages(candidates, reach);
  // Between the weights of the last that counts for sure and of the next.
  const float least = expf((0.5f - static_cast<float>(depth)) / reach);
  for (const Candidate& candidate : candidates) {
    const bool stored = candidate.row < index_.base_rows();  // inserted rows are at hand
    if (!all && stored && weights_[page_number(candidate.row)] < least) continue;
    pending_.push_back(static_cast<uint32_t>(hits_.size()));
    hits_.push_back({candidate.key, candidate.row, false});
  }
  if (max_pages == 0) return;
  const auto weight = [this](uint32_t i) { return hits_[i].row < index_.base_rows() ? weights_[page_number(hits_[i].row)] : 0; };
  sort_items(pending_.begin(), pending_.end(), [&](uint32_t a, uint32_t b) {
    const float left = weight(a), right = weight(b);
    return left > right || (left == right && a < b);
  });
}

void Rerank::weigh_pages(std::span<const Candidate> candidates, float reach) {
  weights_.assign(index_.head.section(Section::Vectors).pages, 0);
  const float fall = expf(-1 / reach);
  float weight = 1;
  for (const Candidate& candidate : candidates) {
    if (candidate.row < index_.base_rows()) weights_[page_number(candidate.row)] += weight;
    weight *= fall;
  }
}

// Of the base row `row`, in its section.
uint32_t Rerank::page_number(uint32_t row) const {
  return index_.vector_page(row) - index_.head.section(Section::Vectors).first_page;
}

int32_t Rerank::step(std::vector<uint32_t>& wanted) {
  const uint8_t* resident = index_.pages.resident(Section::Vectors);
  const uint32_t first_page = index_.head.section(Section::Vectors).first_page;
  const size_t room = wanted.size() + std::max(1u, index_.pages.free_slots());
  size_t left = 0;
  bool waiting = false;
  for (uint32_t i : pending_) {
    Hit& hit = hits_[i];
    const uint8_t* row = nullptr;
    if (hit.row >= index_.base_rows()) {
      row = index_.delta->vector(hit.row);
    } else {
      const uint32_t page = index_.vector_page(hit.row);
      const uint8_t* bytes = resident ? resident + static_cast<size_t>(page - first_page) * kPageBytes : index_.pages.find(page);
      const auto at = std::lower_bound(asked_.begin(), asked_.end(), page);
      const bool asked = at != asked_.end() && *at == page;
      if (bytes) {
        row = bytes + index_.vector_offset(hit.row);
        if (!asked) pages_hit_++;
      } else {
        // The weightiest pages come first, so a bound on pages keeps those that matter most.
        if (!asked) {
          if (max_pages_ && asked_.size() >= max_pages_) continue;  // stays an estimate
          asked_.insert(at, page);
        }
        waiting = true;
        if (wanted.size() < room && std::find(wanted.begin(), wanted.end(), page) == wanted.end()) wanted.push_back(page);
      }
    }
    if (row) {
      hit.key = query_->key(row);
      hit.exact = true;
      distances_++;
    } else {
      pending_[left++] = i;
    }
  }
  pending_.resize(left);
  return waiting ? PW_NEED : PW_DONE;
}

std::span<const Hit> Rerank::hits(uint32_t k) {
  const auto end = std::remove_if(hits_.begin(), hits_.end(), [](const Hit& hit) { return hit.key != hit.key; });
  hits_.erase(end, hits_.end());
  keep_least(hits_, k, [](const Hit& a, const Hit& b) { return a.key < b.key || (a.key == b.key && a.row < b.row); });
  return hits_;
}
