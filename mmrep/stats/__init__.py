"""Statistics of representations: functions of tensors, samples x units, float64 whatever comes in.

cca          cca, cca_from_moments
similarity   mean_cca svcca pwcca cka dft_cca, similarities (all pairs), assess (floor, interval)
representations  represent similarity assessed: layers of any shape, by frequency, pixel or whole
convergence  epochs_of_levels depth_correlation: in which order layers reach their end
multiset     multiset_cca fused: two or more views     classifiers  predictions, by scikit-learn
subspaces    METHODS subspace project projection_scores     heads    retrain_heads
curves       choose_components curves_from_counts: all methods, all n, all heads
information  single_cell_information threshold classify_cells joint_information
energy       patch_axes energy_profile theoretical_profile fit_theoretical_profile
covariance   Moments: what `mmrep.metrics` accumulates in a stream and over ranks
"""
